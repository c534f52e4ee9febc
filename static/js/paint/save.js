// Saving what is painted: soon after every change, again and again when the server cannot be reached, never over what
// another tab has saved. Says in words where it stands.
import { png } from "./raster.js";

const SOON = 400; // milliseconds after a change
const PATIENCE = 30000; // for one answer
const WAITS = [1, 2, 4, 8, 15]; // seconds before the next try

export const newEditor = () => [...crypto.getRandomValues(new Uint8Array(12))].map((part) => part.toString(16).padStart(2, "0")).join("");

// options: editor (this page's own id), url, revision, gather() -> {mask: {labels…}, fields: {…}}, say(text, kind), conflict(revision)
export function createSave(options) {
  const me = options.editor;
  let revision = options.revision;
  let sequence = 0;
  let [wanted, kept] = [0, 0]; // counts of changes: made, and known to be on the server
  let maskToo = false;
  let [timer, sending, tries, held] = [0, false, 0, false];
  let settled = []; // who waits for everything to be saved

  const headers = () => JSON.parse(document.body.getAttribute("hx-headers"));
  const dirty = () => wanted > kept;

  function changed(withMask) {
    wanted += 1;
    maskToo = maskToo || withMask;
    if (!held) options.say("Saving…", "");
    plan(SOON);
  }

  function plan(wait) {
    window.clearTimeout(timer);
    if (!held) timer = window.setTimeout(send, wait);
  }

  async function send() {
    if (sending || held || !dirty()) return;
    sending = true;
    const [mark, withMask] = [wanted, maskToo];
    maskToo = false;
    sequence += 1;
    const giveUp = new AbortController();
    const late = window.setTimeout(() => giveUp.abort(), PATIENCE);
    let answer = null;
    try {
      const { mask, fields } = options.gather();
      const body = new FormData();
      for (const [name, value] of Object.entries({ ...fields, base: revision, editor: me, sequence })) body.set(name, value);
      if (withMask) body.set("mask", await png(mask), "mask.png");
      answer = await fetch(options.url, { method: "POST", body, headers: headers(), credentials: "same-origin", signal: giveUp.signal });
      await settle(answer, mark, withMask);
    } catch {
      again(withMask, answer ? "The answer did not arrive whole." : "The server cannot be reached.");
    } finally {
      window.clearTimeout(late);
      sending = false;
    }
    if (dirty() && !held && !tries) plan(0);
  }

  async function settle(answer, mark, withMask) {
    if (answer.ok) {
      revision = (await answer.json()).revision;
      [kept, tries] = [mark, 0];
      if (!dirty()) {
        options.say("All changes are saved.", "good");
        settled.splice(0).forEach((done) => done(true));
      }
      return;
    }
    if (answer.status >= 500 || answer.status === 429) {
      again(withMask, answer.status === 507 ? "The server's disk is full." : "The server is busy.");
      return;
    }
    const said = await answer.json().then((body) => body.error, () => null);
    maskToo = maskToo || withMask;
    held = true;
    settled.splice(0).forEach((done) => done(false));
    if (said && said.code === "painted_elsewhere") {
      options.say("Not saved: this image was painted in another tab.", "bad");
      options.conflict(said.revision);
    } else {
      const words = said ? said.message : "This page has expired or the image was removed. Reload the page.";
      options.say(`Not saved. ${words}`, "bad");
    }
  }

  function again(withMask, why) {
    maskToo = maskToo || withMask;
    const wait = WAITS[Math.min(tries, WAITS.length - 1)];
    tries += 1;
    options.say(`Not saved yet. ${why} Trying again in ${wait} s; keep this page open.`, "warn");
    plan(1000 * wait);
  }

  // After a conflict: go on from what is on the server now, with ours on top or after theirs was loaded.
  function resume(from, overwrite) {
    revision = from;
    held = false;
    if (overwrite) changed(true);
    else {
      [kept, maskToo] = [wanted, false];
      options.say("All changes are saved.", "good");
    }
  }

  // Resolves with true when everything is on the server.
  function flush() {
    if (!dirty()) return Promise.resolve(true);
    if (held) return Promise.resolve(false);
    return new Promise((done) => {
      settled.push(done);
      plan(0);
    });
  }

  // Another change that counts the revision up, after everything is saved: what the server answers, or null.
  async function post(url, mask) {
    if (!(await flush())) return null;
    sequence += 1;
    const body = new FormData();
    for (const [name, value] of Object.entries({ base: revision, editor: me, sequence })) body.set(name, value);
    if (mask) body.set("mask", mask, "mask.png");
    try {
      const answer = await fetch(url, { method: "POST", body, headers: headers(), credentials: "same-origin" });
      const found = await answer.json();
      if (answer.ok) {
        revision = found.revision;
        return found;
      }
      if (found.error.code === "painted_elsewhere") {
        held = true;
        options.conflict(found.error.revision);
      }
      options.say(found.error.message, "bad");
    } catch {
      options.say("The server cannot be reached. Try again in a moment.", "warn");
    }
    return null;
  }

  window.addEventListener("online", () => { if (dirty()) plan(0); });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden" && dirty()) plan(0); });
  window.addEventListener("beforeunload", (event) => { if (dirty()) event.preventDefault(); });
  return { changed, flush, post, resume, dirty, headers };
}
