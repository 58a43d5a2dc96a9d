// README.md's JavaScript against Podium, with ioredis. PODIUM_PORT names the server, the first argument README.md. Express's part is played.
import { readFileSync } from "node:fs";
import Redis from "ioredis";

const readme = readFileSync(process.argv[2], "utf8");
const section = readme.match(/^## Computed answers\n(.*?)^## /ms)[1];
const code = section.match(/^```js\n(.*?)^```/ms)[1];
const PROJECTS = {
  schema: {
    type: "object",
    properties: {
      name: { type: "string" },
      points: { type: "integer", default: 0, sortable: true },
      event: { type: "array", maxItems: 1, items: { type: "string", pattern: "^rec" }, default: [] },
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
    console.log(`FAILED readme: ${what}; got ${JSON.stringify(seen)}`);
  }
}

const podium = new Redis({ port: Number(process.env.PODIUM_PORT), host: "127.0.0.1", commandTimeout: 15000, maxRetriesPerRequest: 1 });
const duplicates = [];
const duplicate = podium.duplicate.bind(podium);
podium.duplicate = () => duplicates[duplicates.push(duplicate()) - 1];
const routes = {};
const app = { get: (path, handler) => (routes[path] = handler) };

async function figure(name) {
  const info = await podium.info("podium");
  return Number(info.match(new RegExp(`podium_${name}:(\\d+)`))[1]);
}

async function page(event) {
  let sent;
  await routes["/events/:event/leaderboard"]({ params: { event } }, { type: () => ({ send: (body) => (sent = body) }) });
  return JSON.parse(sent);
}

async function conversation() {
  await podium.call("FLUSHALL");
  await podium.call("PODIUM.STATS", "RESET");
  await podium.call("PODIUM.SPEC", "SET", "projects", JSON.stringify(PROJECTS));
  const AsyncFunction = (async () => {}).constructor;
  const cached = await new AsyncFunction("podium", "app", `${code}\nreturn cached;`)(podium, app);
  const [first] = await podium.call("PODIUM.INDEX", "projects:*", "LIMIT", 0, 1);
  const event = JSON.parse(first).event[0];

  const pages = await Promise.all(Array.from({ length: 20 }, () => page(event)));
  const points = pages[0].map((one) => one.points);
  check("a leaderboard", points.length > 1 && points.every((one, at) => at === 0 || one <= points[at - 1]), points);
  check("twenty at once get the same", pages.every((one) => JSON.stringify(one) === JSON.stringify(pages[0])));
  check("computed once", (await figure("fills")) === 1, await figure("fills"));

  const winner = pages[0][0];
  await podium.call("PODIUM.UPSERT", `projects:${winner.id}`, JSON.stringify({ ...winner, points: -1 }));
  const after = await page(event);
  check("anew after a change", after[after.length - 1].id === winner.id && (await figure("fills")) === 2, after);

  const broken = await cached("page:broken", () => Promise.reject(new Error("broken"))).catch((error) => error.message);
  check("an error is the caller's", broken === "broken", broken);
  const [, token] = await podium.call("PODIUM.LEASE", "page:broken", "NOWAIT");
  check("and the lease is given back", token !== null, token);
}

try {
  await conversation();
} catch (error) {
  check("the conversation ends", false, String(error.stack));
} finally {
  for (const one of duplicates) one.disconnect();
  podium.disconnect();
}
console.log(`readme: ${passed} passed, ${failed} failed`);
process.exitCode = failed || !passed ? 1 : 0;
