//! The spec of a resource: `{"computed": true, …}`.

use crate::spec::{strict, SpecError};
use alloc::format;
use alloc::string::{String, ToString};
use serde_json::{Map, Value};

const MEMBERS: [&str; 9] = [
    "computed",
    "ttl",
    "jitter",
    "grace",
    "stale_if_error",
    "lease_ms",
    "wait_ms",
    "early",
    "max_bytes",
];
/// Ten years, s.
const MAX_LIFE_S: u64 = 315_360_000;
/// A day, ms: who computes or waits longer has forgotten it.
const MAX_WAIT_MS: u64 = 86_400_000;
/// The longest string that a server takes.
const MAX_BYTES: u64 = 536_870_912;

/// A named kind of computed answer. Two that are equal have the same effect.
#[derive(Clone, PartialEq, Debug)]
pub struct Resource {
    /// Freshness, s; `None`: the setting's.
    pub ttl_s: Option<u64>,
    /// Random share of the freshness, 0..=0.5; `None`: the setting's.
    pub jitter: Option<f64>,
    /// How long past freshness a copy is served while one caller recomputes, s.
    pub grace_s: u64,
    /// How long past freshness a copy is served after a failed computation, s; `None`: the setting's.
    pub stale_if_error_s: Option<u64>,
    /// How long a computation may take, ms.
    pub lease_ms: u64,
    /// How long others wait for it, ms.
    pub wait_ms: u64,
    /// XFetch's beta; 0 is off.
    pub early: f64,
    /// The largest value that is stored, bytes.
    pub max_bytes: u64,
}

impl Default for Resource {
    fn default() -> Self {
        Resource {
            ttl_s: None,
            jitter: None,
            grace_s: 0,
            stale_if_error_s: None,
            lease_ms: 10_000,
            wait_ms: 5_000,
            early: 1.0,
            max_bytes: 16_777_216,
        }
    }
}

/// The settings that hold where a spec is silent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// s
    pub ttl_s: u64,
    /// 0..=0.5
    pub jitter: f64,
    /// s
    pub stale_if_error_s: u64,
}

fn wrong(place: String, what: &str) -> SpecError {
    SpecError {
        place,
        what: what.into(),
    }
}

impl Resource {
    /// Reads what `PODIUM.SPEC SET` was given; `None`: that is no resource's spec but an entity's.
    ///
    /// # Errors
    /// Names the place by JSON pointer and says what to do.
    pub fn parse(json: &[u8]) -> Result<Option<Resource>, SpecError> {
        let given = strict::parse(json)
            .map_err(|e| wrong(String::new(), &format!("the spec is not JSON: {e}")))?;
        let Value::Object(members) = given else {
            return Ok(None);
        };
        let Some(computed) = members.get("computed") else {
            return Ok(None);
        };
        if *computed != Value::Bool(true) {
            return Err(wrong(
                "/computed".into(),
                "must be true for a computed answer; leave it out for an entity",
            ));
        }
        if let Some(unknown) = members.keys().find(|k| !MEMBERS.contains(&k.as_str())) {
            let place = unknown.replace('~', "~0").replace('/', "~1");
            return Err(wrong(
                format!("/{place}"),
                &format!(
                    "{unknown:?} is no member of a computed answer's spec; it may have {}",
                    MEMBERS.join(", ")
                ),
            ));
        }
        let silent = Resource::default();
        let life = |name, least| whole(&members, name, least, MAX_LIFE_S, "s");
        Ok(Some(Resource {
            ttl_s: life("ttl", 1)?,
            jitter: share(
                &members,
                "jitter",
                0.5,
                "a share from 0 to 0.5, such as 0.05 for 5 %",
            )?,
            grace_s: life("grace", 0)?.unwrap_or(silent.grace_s),
            stale_if_error_s: life("stale_if_error", 0)?,
            lease_ms: whole(&members, "lease_ms", 1, MAX_WAIT_MS, "ms")?.unwrap_or(silent.lease_ms),
            wait_ms: whole(&members, "wait_ms", 0, MAX_WAIT_MS, "ms")?.unwrap_or(silent.wait_ms),
            early: share(
                &members,
                "early",
                100.0,
                "a number from 0 (off) to 100, such as 1.0",
            )?
            .unwrap_or(silent.early),
            max_bytes: whole(&members, "max_bytes", 1, MAX_BYTES, "bytes")?
                .unwrap_or(silent.max_bytes),
        }))
    }
    /// The effective spec, every setting with its value in force.
    pub fn describe(&self, settings: &Settings) -> Value {
        let if_error = self.stale_if_error_s.unwrap_or(settings.stale_if_error_s);
        let mut out = Map::new();
        out.insert("computed".to_string(), true.into());
        out.insert(
            "ttl".to_string(),
            self.ttl_s.unwrap_or(settings.ttl_s).into(),
        );
        out.insert(
            "jitter".to_string(),
            self.jitter.unwrap_or(settings.jitter).into(),
        );
        out.insert("grace".to_string(), self.grace_s.into());
        out.insert("stale_if_error".to_string(), if_error.into());
        out.insert("lease_ms".to_string(), self.lease_ms.into());
        out.insert("wait_ms".to_string(), self.wait_ms.into());
        out.insert("early".to_string(), self.early.into());
        out.insert("max_bytes".to_string(), self.max_bytes.into());
        Value::Object(out)
    }
}

fn whole(
    members: &Map<String, Value>,
    name: &str,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<Option<u64>, SpecError> {
    let Some(given) = members.get(name) else {
        return Ok(None);
    };
    match given.as_u64().filter(|n| (least..=most).contains(n)) {
        None => Err(wrong(
            format!("/{name}"),
            &format!("must be a whole number of {unit} from {least} to {most}"),
        )),
        number => Ok(number),
    }
}

fn share(
    members: &Map<String, Value>,
    name: &str,
    most: f64,
    what: &str,
) -> Result<Option<f64>, SpecError> {
    let Some(given) = members.get(name) else {
        return Ok(None);
    };
    match given.as_f64().filter(|n| (0.0..=most).contains(n)) {
        None => Err(wrong(format!("/{name}"), &format!("must be {what}"))),
        number => Ok(number),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_told_from_an_entity_and_has_defaults() {
        for entity in [
            "{}",
            r#"{"table":"x"}"#,
            r#"{"type":"object","properties":{"computed":{}}}"#,
        ] {
            assert_eq!(Resource::parse(entity.as_bytes()), Ok(None), "{entity}");
        }
        let r = Resource::parse(br#"{"computed":true}"#).unwrap().unwrap();
        assert_eq!(r, Resource::default());
        let r = Resource::parse(br#"{"grace":5,"computed":true,"early":0,"ttl":60}"#).unwrap();
        let r = r.unwrap();
        assert_eq!((r.grace_s, r.early, r.ttl_s), (5, 0.0, Some(60)));
        let settings = Settings {
            ttl_s: 28_800,
            jitter: 0.05,
            stale_if_error_s: 3600,
        };
        assert_eq!(
            r.describe(&settings).to_string(),
            r#"{"computed":true,"ttl":60,"jitter":0.05,"grace":5,"stale_if_error":3600,"lease_ms":10000,"wait_ms":5000,"early":0.0,"max_bytes":16777216}"#
        );
        let again = Resource::parse(r.describe(&settings).to_string().as_bytes());
        assert!(again.is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (json, place, part) in [
            (r#"{"computed":false}"#, "/computed", "must be true"),
            (r#"{"computed":1}"#, "/computed", "must be true"),
            (
                r#"{"computed":true,"table":"x"}"#,
                "/table",
                "it may have computed, ttl",
            ),
            (r#"{"computed":true,"a/b":1}"#, "/a~1b", "no member"),
            (r#"{"computed":true,"ttl":0}"#, "/ttl", "from 1"),
            (
                r#"{"computed":true,"ttl":1.5}"#,
                "/ttl",
                "whole number of s",
            ),
            (r#"{"computed":true,"jitter":0.6}"#, "/jitter", "0.05"),
            (r#"{"computed":true,"grace":-1}"#, "/grace", "from 0"),
            (
                r#"{"computed":true,"lease_ms":0}"#,
                "/lease_ms",
                "ms from 1",
            ),
            (r#"{"computed":true,"early":"1"}"#, "/early", "0 (off)"),
            (
                r#"{"computed":true,"max_bytes":null}"#,
                "/max_bytes",
                "bytes",
            ),
            (r#"{"computed":true,"computed":true}"#, "", "twice"),
        ] {
            let e = Resource::parse(json.as_bytes()).unwrap_err();
            assert_eq!(e.place, place, "{json}");
            assert!(e.what.contains(part), "{json}: {e}");
        }
    }
}
