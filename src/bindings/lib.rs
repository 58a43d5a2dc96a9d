//! The module API's bindings without libclang.
//!
//! redis-module's build script translates `redismodule.h` into Rust with the crate `bindgen`, which loads libclang to read
//! C. Its result depends on nothing but that header: integers and pointers of a 64-bit machine, which the assertions in it
//! check wherever it is compiled. So the result is kept here (`redismodule.rs`), and this crate stands in for `bindgen` with
//! the part of its interface that the script uses. A header that is not the one that was translated is refused: then
//! `scripts/bindings` makes the file anew.

use std::io;
use std::path::{Path, PathBuf};

/// What bindgen 0.72.1 made of the header, for redis-module's options.
const MADE: &str = include_str!("redismodule.rs");
/// [`fingerprint`] of the header it was made from.
const MADE_FROM: &str = include_str!("redismodule.h.fingerprint");

/// How macros become constants: already done in what is kept.
pub mod callbacks {
    /// The integer type of a macro's constant.
    #[derive(Debug)]
    pub enum IntKind {
        Int,
        U64,
        Custom { name: &'static str, is_signed: bool },
    }

    /// Asked by bindgen for each macro.
    pub trait ParseCallbacks: std::fmt::Debug {
        fn int_macro(&self, _name: &str, _value: i64) -> Option<IntKind> {
            None
        }
    }
}

/// bindgen's builder, of which only the header's name matters.
#[derive(Default)]
pub struct Builder {
    header: PathBuf,
}

impl Builder {
    pub fn header(mut self, path: impl Into<String>) -> Self {
        self.header = path.into().into();
        self
    }
    pub fn clang_arg(self, _arg: impl Into<String>) -> Self {
        self
    }
    pub fn allowlist_var(self, _names: &str) -> Self {
        self
    }
    pub fn allowlist_type(self, _names: &str) -> Self {
        self
    }
    pub fn blocklist_type(self, _names: &str) -> Self {
        self
    }
    pub fn size_t_is_usize(self, _is: bool) -> Self {
        self
    }
    pub fn parse_callbacks(self, _callbacks: Box<dyn callbacks::ParseCallbacks>) -> Self {
        self
    }
    /// # Errors
    /// The header cannot be read, or is another one than the bindings were made from.
    pub fn generate(self) -> Result<Bindings, String> {
        let header = std::fs::read(&self.header)
            .map_err(|e| format!("cannot read {}: {e}", self.header.display()))?;
        let found = fingerprint(&header);
        if found == MADE_FROM.trim() {
            return Ok(Bindings);
        }
        Err(format!(
            "{} is not the header that the kept bindings were made from ({found}, expected {}): \
             run scripts/bindings, which makes them anew",
            self.header.display(),
            MADE_FROM.trim()
        ))
    }
}

/// The bindings, ready to be written.
#[derive(Debug)]
pub struct Bindings;

impl Bindings {
    /// # Errors
    /// The file cannot be written.
    pub fn write_to_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, MADE)
    }
}

/// Length and FNV-1a hash of a file's bytes, as text. It tells one version of a header from another; it guards against
/// mistakes, not against forgery.
pub fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} {hash:016x}", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of this content, and what becomes of it.
    fn generated(name: &str, content: Option<&[u8]>) -> Result<Bindings, String> {
        let path = std::env::temp_dir().join(format!("bindings-{}-{name}.h", std::process::id()));
        if let Some(content) = content {
            std::fs::write(&path, content).map_err(|e| e.to_string())?;
        }
        let made = Builder::default().header(path.to_string_lossy()).generate();
        let _ = std::fs::remove_file(path);
        made
    }

    #[test]
    fn a_fingerprint_is_length_and_fnv_1a() {
        assert_eq!(fingerprint(b""), "0 cbf29ce484222325");
        assert_eq!(fingerprint(b"a"), "1 af63dc4c8601ec8c");
        assert_eq!(fingerprint(b"foobar"), "6 85944171f73967e8");
        assert_ne!(fingerprint(b"ab"), fingerprint(b"ba"));
    }

    #[test]
    fn what_is_kept_is_a_fingerprint_and_rust() {
        let (len, hash) = MADE_FROM.trim().split_once(' ').expect("two words");
        assert!(len.parse::<usize>().is_ok_and(|len| len > 50_000), "{len}");
        assert!(hash.len() == 16 && u64::from_str_radix(hash, 16).is_ok());
        assert!(MADE.contains("RedisModule_CreateCommand"));
    }

    #[test]
    fn another_header_is_refused_and_the_remedy_named() {
        let why = generated("other", Some(b"#define REDISMODULE_OK 1")).expect_err("refused");
        assert!(why.contains("scripts/bindings"), "{why}");
        assert!(
            why.contains("24 ") && why.contains(MADE_FROM.trim()),
            "{why}"
        );
        let why = generated("missing", None).expect_err("refused");
        assert!(why.contains("cannot read"), "{why}");
    }
}
