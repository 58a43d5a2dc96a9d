// airtable.js, unchanged, against the emulator that AIRTABLE_EMULATOR_URL names.
//
// The emulator gets a base of this script's own and its limits are lifted. Prints `N passed, N failed`; exits 1 on failure.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

// Resolved from the working directory: the packages may be installed elsewhere than beside this file.
const require = createRequire(path.join(process.cwd(), "here.js"));
const Airtable = require("airtable");

const URL_BASE = (process.env.AIRTABLE_EMULATOR_URL ?? "").replace(/\/+$/, "");
const BASE = "appAirtableJs0001";
const TOKEN = "patAIRTABLEJS.secret";
const id = (kind, n) => `rec${kind.padEnd(10, "x")}${String(n).padStart(4, "0")}`;
const STORIES = Array.from({ length: 130 }, (_, n) => id("Story", n));
const ADA = id("Person", 1);

const SEED = {
  merge: true,
  tokens: [{ token: TOKEN }],
  bases: [
    {
      id: BASE,
      name: "Airtable.js",
      tables: [
        {
          name: "People",
          fields: [{ name: "Name", type: "singleLineText" }],
          records: [{ id: ADA, fields: { Name: "Ada" } }],
        },
        {
          name: "Stories α/β",
          fields: [
            { name: "Title", type: "singleLineText" },
            { name: "Points", type: "number" },
            { name: "Done", type: "checkbox" },
            { name: "Stage", type: "singleSelect", options: { choices: ["Open"] } },
            { name: "Owner", type: "multipleRecordLinks", options: { linkedTable: "People", inverseLinkField: "Stories" } },
          ],
          records: STORIES.map((key, n) => ({ id: key, fields: { Title: `Story ${n}`, Points: n, Owner: [ADA] } })),
        },
      ],
    },
  ],
};

async function control(method, route, body) {
  const reply = await fetch(`${URL_BASE}/_emulator/${route}`, { method, body: body && JSON.stringify(body), signal: AbortSignal.timeout(10_000) });
  assert.equal(reply.status, 200, await reply.clone().text());
  return reply.json();
}

const calls = async () => (await control("GET", "calls")).calls.filter((call) => call.path.includes(BASE));

/** What the client throws. */
async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}

const tests = {
  async "lists every page"({ stories }) {
    const before = (await calls()).length;
    const records = await stories.select().all();
    assert.deepEqual(records.map((r) => r.id), STORIES);
    assert.equal((await calls()).length - before, 2, "130 records cost 2 calls");
  },

  async "walks pages one by one"({ stories }) {
    const sizes = [];
    await stories.select({ pageSize: 10, maxRecords: 25 }).eachPage((records, next) => {
      sizes.push(records.length);
      next();
    });
    assert.deepEqual(sizes, [10, 10, 5]);
  },

  async "sorts, selects fields and filters"({ stories }) {
    const top = await stories.select({ sort: [{ field: "Points", direction: "desc" }], fields: ["Title"], maxRecords: 1 }).firstPage();
    assert.deepEqual(top[0].fields, { Title: "Story 129" });
    const found = await stories.select({ filterByFormula: "AND({Points}>=5,{Points}<7,{Owner}='Ada')" }).all();
    assert.deepEqual(found.map((r) => r.get("Points")), [5, 6]);
    const byId = await stories.select({ maxRecords: 1, returnFieldsByFieldId: true }).firstPage();
    assert.ok(Object.keys(byId[0].fields).every((key) => key.startsWith("fld")));
  },

  async "posts a formula that no URL could hold"({ stories }) {
    const terms = Array.from({ length: 499 }, (_, n) => `RECORD_ID()='${STORIES[n] ?? id("Nowhere", n)}'`);
    const found = await stories.select({ filterByFormula: `OR(${terms.join(",")})` }).all();
    assert.equal(found.length, STORIES.length);
    assert.equal((await calls()).at(-1).method, "POST");
  },

  async "finds one, and knows what is missing"({ stories, people }) {
    const record = await stories.find(STORIES[3]);
    assert.equal(record.get("Title"), "Story 3");
    assert.equal((await people.find(STORIES[3])).id, STORIES[3], "Get finds a record of any table");
    assert.equal((await refusal(stories.find(id("Missing", 1)))).statusCode, 403);
  },

  async "creates, updates, replaces, destroys"({ stories, people }) {
    const made = await stories.create({ Title: "New", Points: 1, Owner: [ADA] });
    assert.ok((await people.find(ADA)).get("Stories").includes(made.id), "the other end of the link");
    const changed = await stories.update(made.id, { Points: 2 });
    assert.equal(changed.get("Title"), "New");
    const replaced = await stories.replace(made.id, { Title: "Only" });
    assert.deepEqual(replaced.fields, { Title: "Only" });
    assert.equal((await stories.destroy(made.id)).id, made.id);
    assert.equal((await refusal(stories.find(made.id))).statusCode, 403);
  },

  async "creates, updates and destroys several"({ stories }) {
    const made = await stories.create(Array.from({ length: 10 }, (_, n) => ({ fields: { Title: `Batch ${n}` } })));
    assert.equal(made.length, 10);
    const changed = await stories.update(made.map((r) => ({ id: r.id, fields: { Points: 4 } })));
    assert.ok(changed.every((r) => r.get("Points") === 4));
    assert.equal((await stories.destroy(made.map((r) => r.id))).length, 10);
    const tooMany = await refusal(stories.create(Array.from({ length: 11 }, () => ({ fields: {} }))));
    assert.equal(tooMany.statusCode, 422);
  },

  async "casts types only when asked"({ stories }) {
    const error = await refusal(stories.create({ Title: "Cast", Stage: "Later" }));
    assert.equal(error.error, "INVALID_MULTIPLE_CHOICE_OPTIONS");
    const made = await stories.create({ Title: "Cast", Stage: "Later" }, { typecast: true });
    assert.equal(made.get("Stage"), "Later");
    await stories.destroy(made.id);
  },

  async "names what it does not know"({ stories }) {
    const formula = await refusal(stories.select({ filterByFormula: "{Nope}=1" }).all());
    assert.equal(formula.error, "INVALID_FILTER_BY_FORMULA");
    const field = await refusal(stories.select({ fields: ["Nope"] }).all());
    assert.equal(field.error, "UNKNOWN_FIELD_NAME");
    const stranger = new Airtable({ apiKey: "patSTRANGER.x", endpointUrl: URL_BASE }).base(BASE);
    assert.equal((await refusal(stranger("People").select().all())).statusCode, 401);
  },

  async "upserts by its raw request"({ base }) {
    const records = [{ fields: { Title: "Story 1", Points: 77 } }, { fields: { Title: "Fresh" } }];
    const reply = await base.makeRequest({
      method: "PATCH",
      path: `/${encodeURIComponent("Stories α/β")}`,
      body: { performUpsert: { fieldsToMergeOn: ["Title"] }, records },
    });
    assert.deepEqual(reply.body.updatedRecords, [STORIES[1]]);
    assert.equal(reply.body.createdRecords.length, 1);
  },

  // The client has no methods for these routes; its raw request takes any path under /v0.
  async "reads schema and webhook payloads by its raw request"({ airtable, stories }) {
    const schema = await airtable.base("meta").makeRequest({ path: `/bases/${BASE}/tables` });
    const table = schema.body.tables.find((t) => t.name === "Stories α/β");
    const hooks = airtable.base("bases");
    const specification = { options: { filters: { dataTypes: ["tableData"], recordChangeScope: table.id } } };
    const hook = await hooks.makeRequest({ method: "POST", path: `/${BASE}/webhooks`, body: { specification } });
    await stories.update(STORIES[2], { Points: 222 });
    const reply = await hooks.makeRequest({ path: `/${BASE}/webhooks/${hook.body.id}/payloads`, qs: { cursor: 1 } });
    assert.equal(reply.body.cursor, 2);
    const points = table.fields.find((f) => f.name === "Points").id;
    const changed = reply.body.payloads[0].changedTablesById[table.id].changedRecordsById[STORIES[2]];
    assert.equal(changed.current.cellValuesByFieldId[points], 222);
    await hooks.makeRequest({ method: "DELETE", path: `/${BASE}/webhooks/${hook.body.id}` });
  },

  async "reports a 429 when told not to retry"() {
    await control("POST", "faults", { kind: "status", status: 429, type: "RATE_LIMIT_REACHED", shape: "plural", match: { path_contains: BASE } });
    const base = new Airtable({ apiKey: TOKEN, endpointUrl: URL_BASE, noRetryIfRateLimited: true }).base(BASE);
    assert.equal((await refusal(base("People").select().all())).statusCode, 429);
  },
};

async function main() {
  if (!URL_BASE) throw new Error("AIRTABLE_EMULATOR_URL is not set");
  await control("POST", "limits", { enabled: false, clear: true });
  let passed = 0;
  let failed = 0;
  for (const [name, run] of Object.entries(tests)) {
    await control("POST", "seed", SEED);
    const airtable = new Airtable({ apiKey: TOKEN, endpointUrl: URL_BASE, requestTimeout: 20_000 });
    const base = airtable.base(BASE);
    try {
      await run({ airtable, base, stories: base("Stories α/β"), people: base("People") });
      passed += 1;
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack ?? JSON.stringify(error)}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed || !passed ? 1 : 0;
}

await main();
