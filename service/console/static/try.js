import { TOO_LARGE, ask, base64, drawBox, drawPoints, openCamera, snapshot } from "./faces.js";

const COLOURS = ["#1459c7", "#a4470c", "#11722c", "#8a1f8f", "#0b6b75", "#b3261e"];
const LANDMARKS = { landmark: "#ff5d52", landmark72: "#ffd400", landmark150: "#3ddc84" };

const form = document.getElementById("trial");
const call = document.getElementById("call");
const state = document.getElementById("state");
const camera = document.getElementById("camera");
const video = camera.querySelector("video");
const canvas = document.getElementById("canvas");
const pictures = [null, null];
let closeCamera = null;
let cameraFor = 0;

function chosen() {
  return call.selectedOptions[0].dataset;
}

function showOptions() {
  const options = chosen().options.split(" ");
  for (const place of form.querySelectorAll("[data-option]")) {
    place.hidden = !options.includes(place.dataset.option);
  }
  for (const place of form.querySelectorAll("[data-picture]")) {
    place.hidden = Number(place.dataset.picture) >= Number(chosen().pictures);
  }
}

function givenOptions() {
  const given = {};
  for (const place of form.querySelectorAll("[data-option]:not([hidden])")) {
    const ticks = [...place.querySelectorAll("input[type=checkbox]:checked")];
    const field = place.querySelector("input:not([type=checkbox]), select");
    const value = field ? field.value.trim() : ticks.map((tick) => tick.value).join(",");
    if (value && value !== "NONE") {
      given[place.dataset.option] = value;
    }
  }
  return given;
}

async function showPicture(blob, faces) {
  const picture = await createImageBitmap(blob, { imageOrientation: "from-image" });
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  canvas.parentElement.hidden = false;
  const unit = Math.max(picture.width / 640, 0.5);
  faces.forEach((face, place) => {
    for (const [kind, colour] of Object.entries(LANDMARKS)) {
      if (face[kind]) {
        drawPoints(context, face[kind], colour, unit);
      }
    }
    if (face.location) {
      const people = (face.user_list || []).map((user) => `${user.user_id} ${user.score.toFixed(0)}`);
      drawBox(context, face.location, [place + 1, ...people].join(" · "), COLOURS[place % COLOURS.length], unit);
    }
  });
}

/** The picture with what was found in it; none where the browser cannot show it, rather than the one before. */
async function showPictureOrNone(blob, faces) {
  try {
    await showPicture(blob, faces);
  } catch {
    canvas.parentElement.hidden = true;
  }
}

function isPlain(value) {
  return value === null || typeof value !== "object";
}

/** Name and value of everything in a face but its points; what belongs together stands in one row. */
function rowsOf(value, name = "") {
  if (isPlain(value)) {
    return [[name, String(value)]];
  }
  if (name && Object.values(value).every(isPlain)) {
    const parts = Object.entries(value).map(([key, inner]) => `${key} ${inner}`);
    return [[name, parts.join(" · ")]];
  }
  return Object.entries(value)
    .filter(([key]) => !key.startsWith("landmark"))
    .flatMap(([key, inner]) => rowsOf(inner, name ? `${name}.${key}` : key));
}

function table(caption, rows) {
  const made = document.createElement("table");
  made.createCaption().textContent = caption;
  for (const [name, value] of rows) {
    const row = made.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    row.insertCell().textContent = value;
  }
  return made;
}

function facesOf(result) {
  if (!result) {
    return [];
  }
  return result.face_list || (result.location ? [result] : []);
}

async function show({ answer, json, milliseconds, samples }, picture) {
  const good = answer.error_code === 0;
  const badge = document.getElementById("code");
  badge.textContent = good ? "SUCCESS" : `${answer.error_code} ${answer.error_msg}`;
  badge.className = good ? "badge good" : "badge bad";
  document.getElementById("time").textContent = `${milliseconds} ms`;
  document.getElementById("json").textContent = json;
  for (const [name, text] of Object.entries(samples)) {
    document.getElementById(`sample-${name}`).textContent = text;
  }
  const tables = document.getElementById("tables");
  tables.replaceChildren();
  const faces = facesOf(answer.result);
  if (answer.result) {
    const rest = Object.fromEntries(Object.entries(answer.result).filter(([key]) => key !== "face_list" && key !== "location"));
    if (Object.keys(rest).length) {
      tables.append(table("result", rowsOf(rest)));
    }
    faces.forEach((face, place) => tables.append(table(`face ${place + 1}`, rowsOf(face))));
  }
  document.getElementById("result").hidden = false;
  await showPictureOrNone(picture, faces);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const count = Number(chosen().pictures);
  const sent = pictures.slice(0, count);
  if (sent.some((picture) => !picture)) {
    state.textContent = state.dataset.missing;
    return;
  }
  const button = document.getElementById("send");
  button.disabled = true;
  state.textContent = state.dataset.busy;
  try {
    const encoded = await Promise.all(sent.map(base64));
    await show(
      await ask(form.dataset.token, {
        app_id: document.getElementById("app").value,
        call: call.value,
        pictures: encoded,
        options: givenOptions(),
      }),
      sent[0],
    );
    state.textContent = "";
  } catch (error) {
    state.textContent = error.message === TOO_LARGE ? state.dataset.large : state.dataset.failed;
    document.getElementById("result").hidden = true; // it is of another request
  }
  button.disabled = false;
});

for (const place of [0, 1]) {
  document.getElementById(`file${place}`).addEventListener("change", async (event) => {
    pictures[place] = event.target.files[0] || null;
    if (place === 0 && pictures[0]) {
      await showPictureOrNone(pictures[0], []);
    }
  });
  form.querySelector(`[data-camera="${place}"]`).addEventListener("click", async () => {
    cameraFor = place;
    try {
      closeCamera = closeCamera || (await openCamera(video));
      camera.hidden = false;
      state.textContent = "";
    } catch {
      state.textContent = state.dataset.camera;
    }
  });
}

function leaveCamera() {
  camera.hidden = true;
  if (closeCamera) {
    closeCamera();
    closeCamera = null;
  }
}

document.getElementById("leave").addEventListener("click", leaveCamera);
document.getElementById("shoot").addEventListener("click", async () => {
  const { blob } = await snapshot(video, 1280);
  pictures[cameraFor] = blob;
  document.getElementById(`file${cameraFor}`).value = "";
  leaveCamera();
  state.textContent = state.dataset.taken;
  if (cameraFor === 0) {
    await showPicture(blob, []);
  }
});

call.addEventListener("change", showOptions);
showOptions();
