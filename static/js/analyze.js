// The analyze page: dropping and pasting images, the upload's progress, and the page's title.
import { formats } from "./formats.js";
import { toast } from "./toast.js";

const form = () => document.querySelector("[data-image-drop]");

function give(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) {
    toast(`This is not an image. Drop a ${formats.image_names} file.`, "warn");
    return;
  }
  const transfer = new DataTransfer();
  for (const file of images) transfer.items.add(file);
  form().elements.file.files = transfer.files;
  form().requestSubmit();
}

// The whole page is a target: a result fills most of it, and the next image should need no aiming.
document.addEventListener("dragover", (event) => {
  if (!form() || ![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  form().classList.add("over");
});
document.addEventListener("dragleave", (event) => { if (form() && !event.relatedTarget) form().classList.remove("over"); });
document.addEventListener("drop", (event) => {
  if (!form() || !event.dataTransfer.files.length) return;
  event.preventDefault();
  form().classList.remove("over");
  give(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (form() && event.clipboardData && event.clipboardData.files.length) give(event.clipboardData.files);
});

const sending = (on) => {
  if (!form()) return;
  form().querySelector("[data-sent]").hidden = !on;
  form().querySelector("[data-send]").disabled = on;
};
document.addEventListener("htmx:beforeRequest", (event) => { if (event.target === form()) sending(true); });
document.addEventListener("htmx:afterRequest", (event) => { if (event.target === form()) sending(false); });
document.addEventListener("htmx:xhr:progress", (event) => {
  if (event.target === form() && event.detail.lengthComputable) {
    form().querySelector("[data-sent]").value = event.detail.loaded / event.detail.total;
  }
});
document.addEventListener("htmx:afterSettle", () => {
  const bench = document.getElementById("bench");
  if (bench) document.title = bench.dataset.title;
});
