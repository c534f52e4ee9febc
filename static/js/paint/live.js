// The live answer: after each stroke the server is asked what the whole image shows. Newest wins: a later request drops
// the one before, and an answer that comes late is not shown. When no worker is there it says so and asks again.
import { png, read } from "./raster.js";

const PAUSE = 150; // milliseconds without another stroke
const PATIENCE = 12000; // for one answer
const AGAIN = 3; // seconds until it asks again when the server does not say

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const grey = (base64) => new Blob([bytesOf(base64)], { type: "image/png" });

async function decoded(body) {
  const mask = grey(body.mask);
  const [ids, sure] = await Promise.all([read(mask, body.width, body.height), read(grey(body.confidence), body.width, body.height, true)]);
  return { ...body, ids, sure, png: mask };
}

// options: url, editor, headers(), strokes() -> {labels, width, height} or null for what was saved, classes() -> rows,
// show(answer), say(state, text): state is asking, answered, waiting, away or bad
export function createLive(options) {
  let [sequence, shown] = [0, 0]; // of the latest request, of the answer on the screen
  let flight = null;
  let timer = 0;
  let since = 0; // when the stroke that is to be answered ended

  function ask(pause = PAUSE) {
    if (pause === PAUSE) since = performance.now();
    window.clearTimeout(timer);
    timer = window.setTimeout(send, pause);
  }

  function stop() {
    window.clearTimeout(timer);
    if (flight) flight.abort();
    flight = null;
    sequence += 1;
  }

  async function body(number) {
    const sent = new FormData();
    const strokes = options.strokes();
    sent.set("editor", options.editor);
    sent.set("sequence", number);
    sent.set("classes", JSON.stringify(options.classes()));
    if (strokes) sent.set("mask", await png(strokes), "strokes.png");
    return sent;
  }

  async function send() {
    if (flight) flight.abort();
    const mine = new AbortController();
    flight = mine;
    sequence += 1;
    const number = sequence;
    const late = window.setTimeout(() => mine.abort("late"), PATIENCE);
    options.say("asking", "");
    try {
      const answer = await fetch(options.url, { method: "POST", body: await body(number), headers: options.headers(), credentials: "same-origin", signal: mine.signal });
      if (number === sequence) await take(answer, number);
    } catch {
      if (number === sequence) away("The server cannot be reached.", AGAIN);
    } finally {
      window.clearTimeout(late);
      if (flight === mine) flight = null;
    }
  }

  async function take(answer, number) {
    if (!answer.ok) {
      const error = await answer.json().then((found) => found.error, () => null);
      const words = (error && error.message) || "The live answer failed.";
      if (answer.status >= 500 || answer.status === 429) away(words, Number(answer.headers.get("Retry-After")) || AGAIN);
      else options.say("bad", words);
      return;
    }
    const found = await answer.json();
    if (found.state === "superseded" || number < shown) return;
    if (found.state === "waiting") {
      options.say("waiting", found.message);
      options.show(null);
      return;
    }
    const ready = await decoded(found);
    if (number !== sequence) return;
    shown = number;
    options.show({ ...ready, took: since ? performance.now() - since : 0 });
    since = 0;
    options.say("answered", "");
    if (found.partial) ask(0);
  }

  function away(words, seconds) {
    options.say("away", words);
    ask(1000 * Math.min(30, Math.max(1, seconds)));
  }

  return { ask, stop };
}
