// The video page: choosing a clip, what it will take, and sending it with its progress.
(() => {
  "use strict";
  const form = document.getElementById("video-form");
  const clip = form.elements.file;
  const find = (name) => form.querySelector(`[data-${name}]`);
  const FRAMES_A_SECOND = 25; // a guess: browsers do not tell; the worker counts
  const PATIENCE = 120; // seconds, or twice the clip: what "Choose for me" keeps to
  let sending = null;

  function words(seconds) {
    if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
    return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  }

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
        say(`${file.name} is ${words(length)} long; the limit is ${form.dataset.minutes} minutes. Cut it, and send the part you need.`);
        return;
      }
      say(`${file.name}: ${words(length)}, ${probe.videoWidth} × ${probe.videoHeight}`);
      for (const place of form.querySelectorAll("[data-takes]")) {
        const rate = place.dataset.takes === "every" ? FRAMES_A_SECOND : Number(place.dataset.takes);
        const all = length * FRAMES_A_SECOND * form.dataset.pace;
        const takes = rate ? length * rate * form.dataset.pace : Math.min(all, Math.max(PATIENCE, 2 * length));
        place.textContent = `About ${words(takes + 3)}.`;
      }
    });
    probe.addEventListener("error", () => {
      URL.revokeObjectURL(address);
      say(`${file.name}: this browser cannot look into it; its length shows once it is sent.`);
    });
    probe.src = address;
  }
  clip.addEventListener("change", look);

  // --- dropping: the whole page is a target ---
  const hasFiles = (event) => [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) form.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form.classList.remove("over");
    const transfer = new DataTransfer();
    transfer.items.add(event.dataTransfer.files[0]);
    clip.files = transfer.files;
    look();
    form.scrollIntoView({ block: "center" });
    find("send").focus();
  });

  // --- sending ---
  function busy(on) {
    find("sent").hidden = find("abort").hidden = !on;
    find("send").disabled = clip.disabled = on;
    if (!on) find("sent-words").textContent = "";
  }

  function refuse(xhr) {
    const place = document.getElementById("video-problems");
    const page = new DOMParser().parseFromString(xhr.responseText || "", "text/html");
    const note = page.querySelector(".note");
    if (note) place.replaceChildren(document.importNode(note, true));
    else {
      let text = page.querySelector("[data-failure]")?.textContent.replace(/\s+/g, " ").trim();
      try { text = JSON.parse(xhr.responseText).error.message; } catch { /* not the API's shape */ }
      segapp.toast(text || `The server answered ${xhr.status}. Nothing was stored; try again in a moment.`);
    }
    place.querySelector(".note")?.focus();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation();
    document.getElementById("video-problems").replaceChildren();
    const body = new FormData(form);
    const xhr = new XMLHttpRequest();
    sending = xhr;
    xhr.open("POST", form.action);
    xhr.setRequestHeader("Accept", "application/json");
    xhr.upload.addEventListener("progress", (sent) => {
      if (!sent.lengthComputable) return;
      find("sent").value = sent.loaded / sent.total;
      find("sent-words").textContent = sent.loaded < sent.total ? `${Math.round((100 * sent.loaded) / sent.total)} %` : "Storing it…";
    });
    xhr.addEventListener("load", () => {
      if (xhr.status === 201) {
        window.location.assign(JSON.parse(xhr.responseText).url);
        return;
      }
      busy(false);
      refuse(xhr);
    });
    xhr.addEventListener("error", () => {
      busy(false);
      segapp.toast("The upload broke off. Nothing was stored; check the connection and send it again.");
    });
    xhr.addEventListener("abort", () => busy(false));
    xhr.send(body);
    busy(true);
  });
  find("abort").addEventListener("click", () => sending?.abort());
  window.addEventListener("pageshow", () => busy(false));
})();
