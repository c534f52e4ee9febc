// The video page: choosing a clip, what it will take, and sending it with its progress.
import { dropAnywhere, duration, upload } from "./upload.js";

const form = document.getElementById("video-form");
const clip = form.elements.file;
const find = (name) => form.querySelector(`[data-${name}]`);
const FRAMES_A_SECOND = 25; // a guess: browsers do not tell; the worker counts
const PATIENCE = 120; // seconds, or twice the clip: what "Choose for me" keeps to

// --- before sending: size, length, and how long each choice takes on this server ---
function say(text) {
  find("estimate").textContent = text;
  find("estimate").hidden = !text;
}

function look() {
  for (const place of form.querySelectorAll("[data-takes]")) place.textContent = "";
  const file = clip.files[0];
  say("");
  if (!file) return;
  if (file.size > form.dataset.megabytes * 1e6) {
    say(`${file.name} has ${Math.round(file.size / 1e6)} MB; the limit is ${form.dataset.megabytes} MB. Shorten it or lower its quality.`);
    return;
  }
  const probe = document.createElement("video");
  const address = URL.createObjectURL(file);
  probe.preload = "metadata";
  probe.addEventListener("loadedmetadata", () => {
    URL.revokeObjectURL(address);
    const length = probe.duration;
    if (!Number.isFinite(length)) return;
    if (length > form.dataset.minutes * 60 + 1) {
      say(`${file.name} is ${duration(length)} long; the limit is ${form.dataset.minutes} minutes. Cut it, and send the part you need.`);
      return;
    }
    say(`${file.name}: ${duration(length)}, ${probe.videoWidth} × ${probe.videoHeight}`);
    for (const place of form.querySelectorAll("[data-takes]")) {
      const rate = place.dataset.takes === "every" ? FRAMES_A_SECOND : Number(place.dataset.takes);
      const all = length * FRAMES_A_SECOND * form.dataset.pace;
      const takes = rate ? length * rate * form.dataset.pace : Math.min(all, Math.max(PATIENCE, 2 * length));
      place.textContent = `About ${duration(takes + 3)}.`;
    }
  });
  probe.addEventListener("error", () => {
    URL.revokeObjectURL(address);
    say(`${file.name}: this browser cannot read it; its length is shown after the upload.`);
  });
  probe.src = address;
}
clip.addEventListener("change", look);

dropAnywhere(form, (files) => [files[0]]);
upload(form, document.getElementById("video-problems"));
