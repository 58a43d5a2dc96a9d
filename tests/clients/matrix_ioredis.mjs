// ioredis against Podium. PODIUM_PORT names the server. ioredis speaks RESP2.
import Redis from "ioredis";

const SPEC = {
  schema: {
    type: "object",
    properties: {
      id: { type: "string" },
      name: { type: "string" },
      n: { type: "integer", default: 0, sortable: true },
      group: { type: "string", default: "", indexed: true },
    },
  },
};

let passed = 0;
let failed = 0;

function check(what, holds, seen) {
  if (holds) {
    passed += 1;
  } else {
    failed += 1;
    console.log(`FAILED ioredis: ${what}; got ${JSON.stringify(seen)}`);
  }
}

const record = (number) => `items:recitm${String(number).padStart(11, "0")}`;

function mapping(flat) {
  const map = {};
  for (let at = 0; at < flat.length; at += 2) map[flat[at]] = flat[at + 1];
  return map;
}

async function conversation(client) {
  const call = (...words) => client.call(...words);
  await call("FLUSHALL");
  check("SPEC SET", (await call("PODIUM.SPEC", "SET", "items", JSON.stringify(SPEC))) === "OK");
  const names = await call("PODIUM.SPEC", "LIST");
  check("SPEC LIST", names.length === 1 && names[0] === "items", names);
  check("SPEC GET", JSON.parse(await call("PODIUM.SPEC", "GET", "items")).fields.group.indexed === true);

  const miss = await call("PODIUM.GET", record(1), "META");
  check("GET … META is a pair", miss.length === 2 && JSON.parse(miss[0]).n === 1, miss);
  check("a miss", mapping(miss[1]).cache === "MISS" && mapping(miss[1])["airtable-hits"] === 1, miss[1]);
  const hit = await call("PODIUM.GET", record(1), "META");
  check("a hit", mapping(hit[1]).cache === "HIT", hit[1]);
  check("null", (await call("PODIUM.GET", "items:recDoesNotExist01")) === null);

  const several = await call("PODIUM.MGET", 3, record(1), "items:recDoesNotExist01", record(2));
  check("MGET", JSON.stringify(several.map((one) => one && JSON.parse(one).n)) === "[1,null,2]", several);
  const top = await call("PODIUM.INDEX", "items:group:g1", "SORT", "n", "DESC", "LIMIT", 0, 2);
  check("INDEX", JSON.stringify(top.map((one) => JSON.parse(one).n)) === "[391,381]", top);
  check("INDEX COUNT", (await call("PODIUM.INDEX", "items:group:g1", "COUNT")) === 40);
  check("INTER IDS", (await call("PODIUM.INTER", 1, "items:group:g1", "IDS")).length === 40);

  const pipe = client.pipeline();
  for (let number = 10; number < 60; number += 1) pipe.call("PODIUM.GET", record(number));
  const piped = await pipe.exec();
  check("a pipeline", piped.every(([error, one], at) => !error && JSON.parse(one).n === at + 10), piped[0]);

  const multi = client.multi();
  multi.call("PODIUM.GET", record(10));
  multi.call("PODIUM.GET", record(300));
  multi.call("PODIUM.UPSERT", record(11), JSON.stringify({ name: "told" }));
  const replies = await multi.exec();
  check("MULTI: a hit", JSON.parse(replies[0][1]).n === 10, replies[0]);
  check("MULTI: a miss", String(replies[1][0] ?? replies[1][1]).includes("WOULDBLOCK"), replies[1]);
  check("MULTI: UPSERT", replies[2][1] === 1, replies[2]);
  check("read what MULTI started to fetch", JSON.parse(await call("PODIUM.GET", record(300))).n === 300);
  check("read what was told", JSON.parse(await call("PODIUM.GET", record(11))).name === "told");

  const refused = await call("PODIUM.GET", "items:nonsense").then(() => "no error", (error) => error.message);
  check("BADKEY", refused.startsWith("BADKEY"), refused);
  check("INVALIDATE", (await call("PODIUM.INVALIDATE", record(10), record(11))) === 2);
}

const client = new Redis({ port: Number(process.env.PODIUM_PORT), host: "127.0.0.1", commandTimeout: 15000, maxRetriesPerRequest: 1 });
try {
  await conversation(client);
} catch (error) {
  check("the conversation ends", false, String(error));
} finally {
  client.disconnect();
}
console.log(`ioredis: ${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
