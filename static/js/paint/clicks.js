// A region from clicks: each click is sent with those before it, and the region that comes back is shown until it is
// painted or given up. Newest wins: an answer that comes after a later click is dropped.
import { nothing, grow, read } from "./raster.js";

const PATIENCE = 10000; // milliseconds for one answer
const AGAIN = 3; // seconds until it asks again when the server does not say
const INSIDE = 128; // of the smoothed mask's 255
const FIRST = "Click on what you want to paint.";

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

// options: mask, url, editor, headers(), changed(): the clicks or the region are others, say(words)
export function createClicks(options) {
  const { mask } = options;
  let points = []; // {at, inside}
  let region = null; // {labels: 0 or 1, width, height, png, clicks: how many it was made of, took}
  let flight = null;
  let sequence = 0;
  let timer = 0;

  // A worker that is away or busy comes back: what is clicked stays, and is asked again.
  function later(answer) {
    if (answer.status < 500 && answer.status !== 429) return;
    const seconds = Math.min(30, Math.max(1, Number(answer.headers.get("Retry-After")) || AGAIN));
    timer = window.setTimeout(ask, 1000 * seconds);
  }

  async function ask() {
    window.clearTimeout(timer);
    if (flight) flight.abort();
    const mine = new AbortController();
    flight = mine;
    const number = (sequence += 1);
    const late = window.setTimeout(() => mine.abort(), PATIENCE);
    const [clicks, began] = [points.length, performance.now()];
    const sent = new FormData();
    sent.set("editor", options.editor);
    sent.set("sequence", number);
    sent.set("clicks", JSON.stringify(points.map(({ at: [x, y], inside }) => [x, y, inside ? 1 : 0])));
    if (points.length) options.say("Looking for the region…");
    try {
      const answer = await fetch(options.url, { method: "POST", body: sent, headers: options.headers(), credentials: "same-origin", signal: mine.signal });
      const found = await answer.json();
      if (number !== sequence) return;
      if (!answer.ok) {
        options.say((found.error && found.error.message) || "The region could not be found. Click again.");
        later(answer);
      }
      if (found.state === "answered") await take(found, number, clicks, began);
    } catch {
      if (number === sequence && points.length) options.say("The server cannot be reached. Nothing was painted; click again.");
    } finally {
      window.clearTimeout(late);
      if (flight === mine) flight = null;
    }
  }

  async function take(found, number, count, began) {
    const png = new Blob([bytesOf(found.mask)], { type: "image/png" });
    const values = await read(png, found.width, found.height);
    if (number !== sequence) return;
    region = { labels: values.map((value) => (value >= INSIDE ? 1 : 0)), width: found.width, height: found.height, png, clicks: count, took: performance.now() - began };
    options.say(`The region is ${found.percent < 1 ? "<1" : Math.round(found.percent)} % of the image. Click to add, take away, or paint it.`);
    options.changed();
  }

  function clear() {
    window.clearTimeout(timer);
    if (flight) flight.abort();
    sequence += 1;
    [points, region] = [[], null];
    options.say(FIRST);
    options.changed();
  }

  return {
    clear,
    prepare: ask, // without clicks: the server gets the image ready
    points: () => points,
    region: () => region,
    add: (at, inside) => {
      if (at[0] < 0 || at[1] < 0 || at[0] >= mask.width || at[1] >= mask.height) return;
      if (!inside && !points.length) {
        options.say("Click on what you want to paint first; then take away from it.");
        return;
      }
      points = [...points, { at, inside }];
      options.changed();
      ask();
    },
    drop: () => { // the last click
      if (!points.length) return false;
      if (!points.slice(0, -1).some((point) => point.inside)) clear();
      else {
        points = points.slice(0, -1);
        options.changed();
        ask();
      }
      return true;
    },
    // Gives the region's pixels a value; returns the box that was touched.
    paint: async (value) => {
      const box = nothing();
      if (!region) return box;
      const values = await read(region.png, mask.width, mask.height, true);
      for (let y = 0, k = 0; y < mask.height; y += 1) {
        for (let x = 0; x < mask.width; x += 1, k += 1) {
          if (values[k] < INSIDE) continue;
          mask.labels[k] = value;
          grow(box, x, y, x + 1, y + 1);
        }
      }
      return box;
    },
  };
}
