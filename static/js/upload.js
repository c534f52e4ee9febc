// Sending a form's files with their progress: shared by the pages that take large uploads.
// The form has [data-send], [data-sent], [data-sent-words] and [data-abort]; what is refused shows in `problems`.
import { toast } from "./toast.js";

function refuse(xhr, problems) {
  const page = new DOMParser().parseFromString(xhr.responseText || "", "text/html");
  const note = page.querySelector(".note");
  if (note) problems.replaceChildren(document.importNode(note, true));
  else {
    let text = page.querySelector("[data-failure]")?.textContent.replace(/\s+/g, " ").trim();
    try { text = JSON.parse(xhr.responseText).error.message; } catch { /* not the API's shape */ }
    toast(text || `The server answered ${xhr.status}. Nothing was stored; try again in a moment.`);
  }
  problems.querySelector(".note")?.focus();
}

export function upload(form, problems) {
  const find = (name) => form.querySelector(`[data-${name}]`);
  const input = form.querySelector('input[type="file"]');
  let sending = null;

  function busy(on) {
    find("sent").hidden = find("abort").hidden = !on;
    find("send").disabled = input.disabled = on;
    if (!on) find("sent-words").textContent = "";
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    event.stopPropagation();
    problems.replaceChildren();
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
      refuse(xhr, problems);
    });
    xhr.addEventListener("error", () => {
      busy(false);
      toast("The upload was interrupted. Nothing was stored; check the connection and send it again.");
    });
    xhr.addEventListener("abort", () => busy(false));
    xhr.send(body);
    busy(true);
  });
  find("abort").addEventListener("click", () => sending?.abort());
  window.addEventListener("pageshow", () => busy(false));
}

// The whole page is a target for dropped files; `take` gets them.
export function dropAnywhere(form, take) {
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
    for (const file of take(event.dataTransfer.files)) transfer.items.add(file);
    const input = form.querySelector('input[type="file"]');
    input.files = transfer.files;
    input.dispatchEvent(new Event("change"));
    form.scrollIntoView({ block: "center" });
    form.querySelector("[data-send]").focus();
  });
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}
