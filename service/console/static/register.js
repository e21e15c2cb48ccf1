const form = document.getElementById("register");
const state = document.getElementById("state");
const progress = document.getElementById("progress");
const refused = document.getElementById("refused");
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

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The file that a person's row means: by the name it gives, below the chosen folder, or by the number. */
function pictureOf(person, named, files) {
  if (named) {
    return files.find((file) => (file.webkitRelativePath || file.name).split("/").slice(file.webkitRelativePath ? 1 : 0).join("/") === person.picture);
  }
  const wanted = form.dataset.endings.split(" ").map((ending) => person.id_card_number.toUpperCase() + ending);
  return files.find((file) => wanted.includes(file.name.replace(/^[^.]+/, (stem) => stem.toUpperCase())));
}

async function enter(person) {
  const response = await fetch("/console/register", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-Form-Token": form.dataset.token },
    body: JSON.stringify(person),
  });
  if (!response.ok) {
    throw new Error(String(response.status));
  }
  return response.json();
}

function tell(line, { number, reason }) {
  refused.hidden = false;
  const row = refused.querySelector("tbody").insertRow();
  for (const value of [line, number, reason]) {
    row.insertCell().textContent = value;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [heading, ...rows] = rowsOf((await document.getElementById("list").files[0].text()).replace(/^\ufeff/, ""));
  if (!heading || !COLUMNS.slice(0, 2).every((name) => heading.fields.includes(name))) {
    state.textContent = state.dataset.list;
    return;
  }
  const files = [...document.getElementById("pictures").files];
  const named = heading.fields.includes("picture");
  const counts = { entered: 0, unchanged: 0, refused: 0 };
  refused.querySelector("tbody").replaceChildren();
  progress.hidden = false;
  progress.max = rows.length || 1;
  try {
    for (const [place, { line, fields }] of rows.entries()) {
      const person = Object.fromEntries(heading.fields.map((name, column) => [name, fields[column] || ""]));
      const file = pictureOf(person, named, files);
      const sent = Object.fromEntries(COLUMNS.map((name) => [name, person[name] || ""]));
      const answer = await enter({ ...sent, line, picture: file ? await base64(file) : "" });
      counts[answer.outcome] += 1;
      if (answer.outcome === "refused") {
        tell(line, answer);
      }
      progress.value = place + 1;
      state.textContent = `${place + 1} / ${rows.length} · ${state.dataset.done} ${counts.entered}, ${counts.unchanged}, ${counts.refused}`;
    }
  } catch {
    state.textContent = state.dataset.failed;
  }
});
