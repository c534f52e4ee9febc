// The page of many images at once: what was chosen, what it will take, and sending it with its progress.
import { isArchive } from "./formats.js";
import { dropAnywhere, duration, upload } from "./upload.js";

const form = document.getElementById("batch-form");
const input = form.elements.files;
const estimate = form.querySelector("[data-estimate]");
const limits = form.dataset;

function words(files) {
  const megabytes = files.reduce((sum, file) => sum + file.size, 0) / 1e6;
  const size = megabytes < 0.1 ? "under 0.1 MB" : `${megabytes < 10 ? megabytes.toFixed(1) : Math.round(megabytes)} MB`;
  if (megabytes > Number(limits.megabytes)) return `${size} are too much at once. The limit is ${limits.megabytes} MB. Choose fewer, and send the rest afterwards.`;
  if (files.length > Number(limits.files)) return `${files.length} images are too many at once; the limit is ${limits.files}. Choose fewer, and send the rest afterwards.`;
  if (files.some((file) => isArchive(file.name))) return files.length > 1 ? "Send either images or one zip at a time." : `${files[0].name}, ${size}. The number of images in it and the time they take are shown after the upload.`;
  return `${files.length} ${files.length === 1 ? "image" : "images"}, ${size}: about ${duration(files.length * limits.pace)} once they are sent.`;
}

input.addEventListener("change", () => {
  const files = [...input.files];
  estimate.textContent = files.length ? words(files) : "";
  estimate.hidden = !files.length;
});
dropAnywhere(form, (files) => files);
upload(form, document.getElementById("batch-problems"));
