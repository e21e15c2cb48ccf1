// Seal pictures for an aipface-server and ask it whether they show a living person.
//
//     node capture_envelope.mjs http://127.0.0.1:8000 API_KEY SECRET_KEY face.jpg
//
// needs Node 18 or newer and nothing else. `seal` is the part that belongs on the device that takes the pictures, and
// runs in browsers as it is: it needs the public keys only. Fetching them and calling the API is for the server behind
// it, which has the app's secret.

const crypto = globalThis.crypto ?? (await import("node:crypto")).webcrypto;

const utf8 = (text) => new TextEncoder().encode(text);

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}

const base64url = (buffer) =>
  base64(new Uint8Array(buffer)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// A capture envelope with pictures (Uint8Array) that were just taken, under the app's RSA key: a compact JWE (RFC 7516).
export async function seal(keys, pictures, deviceId) {
  const jwk = keys.find((key) => key.alg === "RSA-OAEP-256");
  const content = {
    images: pictures.map(base64),
    nonce: base64url(crypto.getRandomValues(new Uint8Array(16))),
    timestamp: Math.floor(Date.now() / 1000),
    device_id: deviceId,
  };
  const rsa = { name: "RSA-OAEP", hash: "SHA-256" };
  const recipient = await crypto.subtle.importKey("jwk", { kty: jwk.kty, n: jwk.n, e: jwk.e }, rsa, false, ["encrypt"]);
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const aes = await crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt"]);
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const header = base64url(utf8(JSON.stringify({ alg: "RSA-OAEP-256", enc: "A256GCM", kid: jwk.kid })));
  const cipher = { name: "AES-GCM", iv, additionalData: utf8(header), tagLength: 128 };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(cipher, aes, utf8(JSON.stringify(content))));
  const wrapped = await crypto.subtle.encrypt(rsa, recipient, secret);
  const tag = sealed.length - 16;
  return [header, ...[wrapped, iv, sealed.subarray(0, tag), sealed.subarray(tag)].map(base64url)].join(".");
}

async function main(server, apiKey, secretKey, ...paths) {
  const { readFile } = await import("node:fs/promises");
  const body = new URLSearchParams({ grant_type: "client_credentials", client_id: apiKey, client_secret: secretKey });
  const { access_token } = await (await fetch(`${server}/oauth/2.0/token`, { method: "POST", body })).json();
  const { keys } = await (await fetch(`${server}/envelope/v1/keys?access_token=${access_token}`)).json();
  const pictures = await Promise.all(paths.map(async (path) => new Uint8Array(await readFile(path))));
  const data = await seal(keys, pictures, "example-device");
  const answer = await fetch(`${server}/rest/2.0/face/v4/faceverify?access_token=${access_token}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sdk_version: "4", app: "android", data, risk_identify: "true" }),
  });
  console.log(await answer.text());
}

if (globalThis.process?.argv.length > 2) await main(...process.argv.slice(2));
