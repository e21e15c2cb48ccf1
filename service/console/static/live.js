import { ask, base64, drawBox, openCamera, snapshot } from "./faces.js";

const LONGEST = 640;
const PAUSE = 150;
const PATIENCE = 5000; // milliseconds; who was seen before that is not said to be there still
const KNOWN = "#11722c";
const UNKNOWN = "#57606a";
const NO_MATCH = 222207;

const form = document.getElementById("live");
const state = document.getElementById("state");
const people = document.getElementById("people");
const video = document.querySelector(".stage video");
const canvas = document.querySelector(".stage canvas");
const start = document.getElementById("start");
const stop = document.getElementById("stop");
let close = null;
let run = 0; // counts starts: what an earlier one still waits for is not shown

/** Takes names and boxes away: what was seen before says nothing of who is there now. */
function clear() {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  people.textContent = "";
}

function draw(faces, scale) {
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  const unit = Math.max(video.videoWidth / 640, 0.5);
  for (const face of faces) {
    const place = { ...face.location };
    for (const side of ["left", "top", "width", "height"]) {
      place[side] /= scale;
    }
    const best = face.user_list[0];
    drawBox(context, place, best ? `${best.user_id} ${best.score.toFixed(1)}` : "?", best ? KNOWN : UNKNOWN, unit);
  }
  const names = faces.flatMap((face) => face.user_list.slice(0, 1).map((user) => user.user_id));
  const told = names.join(", ") || state.dataset.nobody;
  if (people.textContent !== told) {
    people.textContent = told;
  }
}

async function look(mine) {
  const { blob, scale } = await snapshot(video, LONGEST);
  const content = {
    app_id: document.getElementById("app").value,
    call: "multi-search",
    pictures: [await base64(blob)],
    options: {
      group_id_list: document.getElementById("groups").value,
      match_threshold: document.getElementById("threshold").value,
      max_face_num: "5",
      max_user_num: "1",
    },
  };
  const { answer, milliseconds } = await ask(form.dataset.token, content, AbortSignal.timeout(PATIENCE));
  if (mine !== run) {
    return;
  }
  if (answer.error_code !== 0 && answer.error_code !== NO_MATCH) {
    state.textContent = answer.error_msg;
    clear();
    return;
  }
  state.textContent = `${milliseconds} ms`;
  draw(answer.error_code === 0 ? answer.result.face_list : [], scale);
}

async function keepLooking(mine) {
  while (mine === run) {
    try {
      await look(mine);
    } catch {
      if (mine === run) {
        state.textContent = state.dataset.failed;
        clear();
      }
    }
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  start.disabled = true;
  try {
    close = await openCamera(video);
  } catch {
    start.disabled = false;
    state.textContent = state.dataset.camera;
    return;
  }
  stop.disabled = false;
  run += 1;
  keepLooking(run);
});

stop.addEventListener("click", () => {
  run += 1;
  close();
  start.disabled = false;
  stop.disabled = true;
  clear();
});
