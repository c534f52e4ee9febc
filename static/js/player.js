// Overlay, original and masks as one film: the overlay leads, the others follow, the timeline moves with them.
import { createTimeline } from "./timeline.js";

const player = document.getElementById("player");
const status = JSON.parse(document.getElementById("video-status").textContent);
const lead = document.getElementById("film-overlay");
const followers = { beside: document.getElementById("film-original"), mask: document.getElementById("film-mask") };
const screens = player.querySelector("[data-screens]");
const scrub = player.querySelector("[data-scrub]");
const time = player.querySelector("[data-time]");
const play = player.querySelector("[data-play]");
const [up, down] = (status.source.rate || "25").split("/").map(Number);
const frame = (down || 1) / up; // seconds
const DRIFT = 0.06; // seconds that a follower may be apart while it plays
let follower = null;
let wanted = null; // where to go once the present seek is done: seeking faster than decoding only piles up

// Without script the browser's own controls serve; with it these do, because they move everything.
player.querySelector("[data-views]").hidden = player.querySelector("[data-transport]").hidden = false;
lead.controls = false;

const timeline = createTimeline(player.querySelector("[data-timeline]"), status, seek);

// The most doubtful moments as buttons, in the order of the video: one goes there, and the frame can be fixed.
const doubtful = player.querySelector("[data-doubtful]");
for (const { seconds, doubt } of [...(status.doubtful || [])].sort((one, other) => one.seconds - other.seconds)) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "button small number", textContent: clock(seconds), title: `Doubt ${doubt.toFixed(2)}` });
  button.setAttribute("aria-label", `Go to ${clock(seconds)}, doubt ${doubt.toFixed(2)}`);
  button.addEventListener("click", () => { lead.pause(); seek(seconds + frame / 2); });
  doubtful?.append(button);
}

const length = () => (Number.isFinite(lead.duration) ? lead.duration : status.source.seconds || 1);

function clock(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

function show() {
  const now = wanted ?? lead.currentTime;
  scrub.max = length();
  scrub.value = now;
  scrub.setAttribute("aria-valuetext", `${clock(now)} of ${clock(length())}`);
  time.textContent = `${clock(now)} / ${clock(length())}`;
  timeline.show(now);
  player.dataset.at = now.toFixed(3);
}

function follow() {
  if (!follower || follower.readyState < 1) return;
  const apart = Math.abs(follower.currentTime - lead.currentTime);
  if (apart > (lead.paused ? 0.001 : DRIFT) && !follower.seeking) follower.currentTime = lead.currentTime;
}

function seek(seconds) {
  wanted = Math.min(Math.max(0, seconds), length());
  if (!lead.seeking) lead.currentTime = wanted;
  show();
}
lead.addEventListener("seeked", () => {
  if (wanted !== null && Math.abs(wanted - lead.currentTime) > 0.001) lead.currentTime = wanted;
  else wanted = null;
  follow();
  show();
});

function tick() {
  follow();
  show();
  if (!lead.paused && !lead.ended) window.requestAnimationFrame(tick);
}

function icon() {
  play.setAttribute("aria-label", lead.paused ? "Play" : "Pause");
  play.querySelector('[data-icon="play"]').setAttribute("visibility", lead.paused ? "visible" : "hidden");
  play.querySelector('[data-icon="pause"]').setAttribute("visibility", lead.paused ? "hidden" : "visible");
}
const ignore = () => {}; // play() is refused when a pause comes in between
lead.addEventListener("play", () => { icon(); follower?.play().catch(ignore); tick(); });
lead.addEventListener("pause", () => { icon(); follower?.pause(); follow(); show(); });
lead.addEventListener("ended", icon);
lead.addEventListener("loadedmetadata", show);
const toggle = () => (lead.paused ? lead.play().catch(ignore) : lead.pause());
play.addEventListener("click", toggle);
for (const film of [lead, ...Object.values(followers)]) film.addEventListener("click", toggle);
// --- sound and full screen: the browser's own controls for them are hidden ---
const mute = player.querySelector("[data-mute]");
mute?.addEventListener("click", () => { lead.muted = !lead.muted; });
lead.addEventListener("volumechange", () => {
  mute?.setAttribute("aria-pressed", String(!lead.muted));
  mute?.querySelector('[data-icon="loud"]').setAttribute("visibility", lead.muted ? "hidden" : "visible");
  mute?.querySelector('[data-icon="mute"]').setAttribute("visibility", lead.muted ? "visible" : "hidden");
});
const full = player.querySelector("[data-full]");
full.hidden = !document.fullscreenEnabled;
full.addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else player.requestFullscreen().catch(ignore);
});

scrub.addEventListener("input", () => seek(Number(scrub.value)));

function step(frames) {
  lead.pause();
  // The middle of a frame: its very beginning may round into the one before.
  const number = Math.floor((wanted ?? lead.currentTime) / frame + 1e-3) + frames;
  seek((Math.max(0, number) + 0.5) * frame);
}
for (const button of player.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
player.addEventListener("keydown", (event) => {
  if (event.target.matches("input, button, a, label")) return;
  const doing = { " ": toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1) }[event.key];
  if (doing) { event.preventDefault(); doing(); }
});
player.tabIndex = -1;

// --- views: a film is loaded when it is first looked at ---
player.querySelector("[data-views]").addEventListener("change", (event) => {
  const view = event.target.value;
  screens.dataset.screens = view;
  follower?.pause();
  follower = followers[view] || null;
  screens.querySelector(".original").hidden = view !== "beside";
  screens.querySelector(".mask").hidden = view !== "mask";
  screens.querySelector(".overlay").hidden = view === "mask";
  if (!follower) return;
  if (!follower.src) follower.src = follower.dataset.source;
  if (!lead.paused) follower.play().catch(ignore);
  follow();
});
for (const film of Object.values(followers)) film.addEventListener("loadeddata", follow);

// --- a frame to mend: as it was sent, answered by the active model, and opened to paint on ---
const fixing = player.querySelector("[data-fix-frame]");
fixing.hidden = false;

// The original's frame at a time, as a PNG. Rejects where the browser cannot play it.
async function grabbed(seconds) {
  const film = document.createElement("video");
  Object.assign(film, { muted: true, preload: "auto", src: followers.beside.dataset.source });
  const once = (name) => new Promise((yes, no) => {
    film.addEventListener(name, yes, { once: true });
    film.addEventListener("error", () => no(new Error("format")), { once: true });
  });
  await once("loadeddata");
  const there = once("seeked");
  film.currentTime = seconds;
  await there;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
  canvas.getContext("2d").drawImage(film, 0, 0);
  film.removeAttribute("src");
  film.load(); // lets go of the file
  return new Promise((yes, no) => canvas.toBlob((png) => (png ? yes(png) : no(new Error("format"))), "image/png"));
}

async function fixFrame() {
  const now = wanted ?? lead.currentTime;
  const sent = new FormData();
  sent.set("file", await grabbed(now), `${fixing.dataset.name.replace(/\.\w+$/, "")} ${clock(now).replace(":", "m")}s.png`);
  const headers = JSON.parse(document.body.getAttribute("hx-headers"));
  const answer = await fetch(fixing.dataset.segment, { method: "POST", body: sent, headers, credentials: "same-origin" });
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error && found.error.message);
  fixing.action = fixing.dataset.fix.replace("ID", found.analysis_id);
  fixing.submit();
}
fixing.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [button, says] = [fixing.querySelector("button"), fixing.querySelector("[data-fix-says]")];
  lead.pause();
  [button.disabled, says.textContent] = [true, "Taking the frame…"];
  try {
    await fixFrame();
  } catch (error) {
    const format = "Your browser cannot play the original’s format. Save the frame with another program and analyze it.";
    says.textContent = error.message === "format" ? format : error.message || "The frame could not be sent. Try again in a moment.";
    button.disabled = false;
  }
});
followers.beside.addEventListener("error", () => {
  followers.beside.hidden = true;
  player.querySelector("[data-unplayable]").hidden = false;
});
show();
