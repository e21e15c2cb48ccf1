// What the pages with pictures share: asking the server, the camera, drawing what was found.

/** Message of the error that is thrown for a request which the server, or a proxy before it, finds too large. */
export const TOO_LARGE = "413";

/** Sends a call to the server: {answer, json, milliseconds, samples}. Throws where it is no answer; `signal` ends it. */
export function ask(token, content, signal) {
  return post("/console/try", token, content, signal);
}

/** Sends JSON to a page; its answer. Throws the status where it is none, and leads to the log-in where that ended. */
export async function post(path, token, content, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-Form-Token": token },
    body: JSON.stringify(content),
    signal,
  });
  if (response.status === 401) {
    location.assign("/console/login?next=" + encodeURIComponent(location.pathname));
  }
  if (!response.ok) {
    throw new Error(String(response.status));
  }
  return response.json();
}

/** Lets the camera run in a video element; returns what stops it. Throws where there is none. */
export async function openCamera(video) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
  video.srcObject = stream;
  await video.play();
  return () => {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
  };
}

/** The picture that a video shows now, at most `longest` pixels wide or high, as a JPEG blob. */
export function snapshot(video, longest) {
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob((blob) => done({ blob, scale }), "image/jpeg", 0.92));
}

/** A file's content as base64. */
export function base64(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Draws a face's box, turned about its top left corner as the API has it, with words above it. */
export function drawBox(context, place, words, colour, unit) {
  context.save();
  context.translate(place.left, place.top);
  context.rotate((place.rotation * Math.PI) / 180);
  context.lineWidth = 3 * unit;
  context.strokeStyle = colour;
  context.strokeRect(0, 0, place.width, place.height);
  if (words) {
    context.font = `600 ${16 * unit}px system-ui, sans-serif`;
    const width = context.measureText(words).width + 12 * unit;
    context.fillStyle = colour;
    context.fillRect(-1.5 * unit, -25 * unit, width, 25 * unit);
    context.fillStyle = "#ffffff";
    context.fillText(words, 5 * unit, -7 * unit);
  }
  context.restore();
}

/** Draws points of a face: a list of {x, y}, or an object of them. */
export function drawPoints(context, points, colour, unit) {
  context.fillStyle = colour;
  for (const point of Array.isArray(points) ? points : Object.values(points)) {
    context.beginPath();
    context.arc(point.x, point.y, 2 * unit, 0, 2 * Math.PI);
    context.fill();
  }
}
