import { TOO_LARGE, base64, post } from "./faces.js";

const form = document.getElementById("register");
const state = document.getElementById("state");
const progress = document.getElementById("progress");
const refused = document.getElementById("refused");
const start = document.getElementById("start");
const COLUMNS = ["id_card_number", "name", "valid_from", "valid_to"];

/** Rows of a CSV text (RFC 4180): arrays of fields, each with the line on which its row begins. */
function rowsOf(text) {
  const rows = [];
  let fields = [];
  let field = "";
  let quoted = false;
  let line = 1;
  let begun = 1;
  for (let place = 0; place < text.length; place += 1) {
    const sign = text[place];
    line += sign === "\n" ? 1 : 0;
    if (quoted) {
      if (sign !== '"') {
        field += sign;
      } else if (text[place + 1] === '"') {
        field += '"';
        place += 1;
      } else {
        quoted = false;
      }
    } else if (sign === '"' && field === "") {
      quoted = true;
    } else if (sign === "," || sign === "\n") {
      fields.push(field.trim());
      field = "";
      if (sign === "\n") {
        rows.push({ line: begun, fields });
        fields = [];
        begun = line;
      }
    } else {
      field += sign;
    }
  }
  if (field || fields.length) {
    rows.push({ line: begun, fields: [...fields, field.trim()] });
  }
  return rows.filter((row) => row.fields.some((value) => value));
}

/** The file that a person's row means: by the name it gives, below the chosen folder, or by the number. */
function pictureOf(person, named, files) {
  if (named) {
    return files.find((file) => (file.webkitRelativePath || file.name).split("/").slice(file.webkitRelativePath ? 1 : 0).join("/") === person.picture);
  }
  const wanted = form.dataset.endings.split(" ").map((ending) => tidied(person.id_card_number) + ending);
  return files.find((file) => wanted.includes(file.name.replace(/^[^.]+/, (stem) => stem.toUpperCase())));
}

/** A number as the register keeps it, and as others may see it. */
function tidied(number) {
  return number.normalize("NFKC").trim().toUpperCase();
}

function masked(number) {
  return number.length > 8 ? number.slice(0, 3) + "*".repeat(number.length - 5) + number.slice(-2) : "*".repeat(number.length);
}

/** Enters one person, as `aipface identity import` does; what is wrong with a row alone is told, not thrown. */
async function enter(person, line, named, files, seen) {
  const number = tidied(person.id_card_number);
  const no = (reason) => ({ outcome: "refused", number: masked(number), reason });
  if (seen.has(number)) {
    return no(state.dataset.twice.replace("{line}", seen.get(number)));
  }
  seen.set(number, line);
  const file = pictureOf(person, named, files);
  if (named && person.picture && files.length && !file) {
    return no(state.dataset.gone);
  }
  if (file && file.size > Number(form.dataset.most)) {
    return no(state.dataset.large);
  }
  const sent = Object.fromEntries(COLUMNS.map((name) => [name, person[name] || ""]));
  try {
    return await post("/console/register", form.dataset.token, { ...sent, line, picture: file ? await base64(file) : "" });
  } catch (error) {
    if (error.message === TOO_LARGE) {
      return no(state.dataset.large);
    }
    throw error;
  }
}

function tell(line, { number, reason }) {
  refused.hidden = false;
  const row = refused.querySelector("tbody").insertRow();
  for (const value of [line, number, reason]) {
    row.insertCell().textContent = value;
  }
}

async function enterAll() {
  const [heading, ...rows] = rowsOf((await document.getElementById("list").files[0].text()).replace(/^\ufeff/, ""));
  if (!heading || !COLUMNS.slice(0, 2).every((name) => heading.fields.includes(name))) {
    state.textContent = state.dataset.list;
    return;
  }
  const files = [...document.getElementById("pictures").files];
  const named = heading.fields.includes("picture");
  const counts = { entered: 0, unchanged: 0, refused: 0 };
  refused.querySelector("tbody").replaceChildren();
  refused.hidden = true;
  progress.hidden = false;
  progress.max = rows.length || 1;
  const seen = new Map();
  for (const [place, { line, fields }] of rows.entries()) {
    const person = Object.fromEntries(heading.fields.map((name, column) => [name, fields[column] || ""]));
    const answer = await enter(person, line, named, files, seen);
    counts[answer.outcome] += 1;
    if (answer.outcome === "refused") {
      tell(line, answer);
    }
    progress.value = place + 1;
    state.textContent = `${place + 1} / ${rows.length} · ${state.dataset.done} ${counts.entered}, ${counts.unchanged}, ${counts.refused}`;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  start.disabled = true;
  state.textContent = "";
  try {
    await enterAll();
  } catch {
    state.textContent = [state.textContent, state.dataset.failed].filter((part) => part).join(" · ");
  }
  start.disabled = false;
});
