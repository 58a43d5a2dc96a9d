// Tells Podium that a record was created, changed or deleted. To be pasted into an Airtable automation, action "Run a script".
//
// Input variables of the action:
//   recordId   the Airtable record ID of the trigger's record (required)
//   action     create, update or delete; without it update, or delete if the record is no longer in the table
//
// The base needs a table "Invalidate Config" with the text fields Key and Value and these records:
//   podium-url      the address of the endpoint that hands the body to PODIUM.WEBHOOK, https://…
//   podium-secret   what `openssl rand -hex 32` printed, the same as in podium.webhook-secret-file

const TABLE_NAME = "Projects";
const CONFIG_TABLE_NAME = "Invalidate Config";

const { recordId, action } = input.config();
if (!recordId) throw new Error("the input variable recordId is empty: set it to the trigger's Airtable record ID");

const configTable = base.getTable(CONFIG_TABLE_NAME);
const { records: entries } = await configTable.selectRecordsAsync({ fields: ["Key", "Value"] });
const setting = (key) => {
  const entry = entries.find((one) => one.getCellValueAsString("Key").trim() === key);
  const value = entry ? entry.getCellValueAsString("Value").trim() : "";
  if (!value) throw new Error(`the table "${CONFIG_TABLE_NAME}" has no value for ${key}`);
  return value;
};

// Taken before the record is read: what is sent is at least as new as it says.
const timestamp = Date.now();
const table = base.getTable(TABLE_NAME);
const record = await table.selectRecordAsync(recordId, { fields: table.fields });
const gone = !record || action === "delete";

const cells = {};
for (const field of gone ? [] : table.fields) {
  const value = record.getCellValue(field);
  if (value !== null) cells[field.name] = value;
}

const request = {
  method: "POST",
  headers: { "Content-Type": "application/json", "X-Airtable-Secret": setting("podium-secret") },
  body: JSON.stringify({
    table: TABLE_NAME,
    record: gone ? null : cells,
    record_id: recordId,
    timestamp,
    action: gone ? "delete" : action || "update",
  }),
};

// Told twice is told once, so a second attempt does no harm. If it fails too, the run fails, and Airtable tells the automation's owner.
let response = await fetch(setting("podium-url"), request).catch((error) => ({ ok: false, status: error.message }));
if (!response.ok) response = await fetch(setting("podium-url"), request);
if (!response.ok) throw new Error(`Podium's endpoint answered ${response.status}`);
console.log(`${TABLE_NAME} ${recordId}: ${gone ? "deleted" : "sent"}`);
