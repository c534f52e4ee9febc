// The server's table of file kinds, names and limits (segapp/imaging/formats.py), as the page carries it.
export const formats = JSON.parse(document.getElementById("formats").textContent);

const ends = (name, suffixes) => suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));

export const isImage = (name) => ends(name, formats.image_suffixes);
export const isMaskFile = (name) => ends(name, formats.mask_suffixes);
export const isAnnotation = (name) => ends(name, formats.annotation_suffixes);
export const isArchive = (name) => ends(name, formats.archive_suffixes);

// "leaf_mask" -> "leaf"; a stem without such an ending stays as it is. Stems are in lower case.
export function withoutMaskEnding(stem) {
  const ending = formats.mask_endings.find((one) => stem.endsWith(one));
  return ending ? stem.slice(0, -ending.length) : stem;
}

// What one part of a path says of the files in it: "mask", "image" or "".
export function kindOfFolder(name) {
  const humps = name.replace(/([a-z])([A-Z])|([A-Z])([A-Z][a-z])/g, "$1$3 $2$4"); // imagesTr, CameraSeg
  for (const words of [[name], name.split(/[_\-. ]/), humps.split(/[_\-. ]/)]) {
    const said = words.map((word) => word.toLowerCase());
    if (said.some((word) => formats.mask_folders.includes(word))) return "mask";
    if (said.some((word) => formats.image_folders.includes(word))) return "image";
  }
  return "";
}
