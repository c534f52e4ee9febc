// What is said about the live answer: share and confidence of each class, how sure it is of the image, and what to do
// when there is none.
const share = (percent) => (percent > 0 && percent < 1 ? "<1 %" : `${Math.round(percent)} %`);

// Mean confidence of each class id, from 0 to 1.
function certainty({ ids, sure }) {
  const [sums, counts] = [new Float64Array(256), new Uint32Array(256)];
  for (let k = 0; k < ids.length; k += 1) {
    sums[ids[k]] += sure[k];
    counts[ids[k]] += 1;
  }
  return (id) => (counts[id] ? sums[id] / counts[id] / 255 : null);
}

const learnt = (images) => `Learnt from your strokes on ${images} image${images === 1 ? "" : "s"}.`;

// list: the class list; line: the element that says where it stands
export function createAnswerPanel(list, line) {
  let shares = new Map(); // class id -> [share, confidence] as they are shown

  function rows() {
    list.classList.toggle("answered", shares.size > 0);
    for (const item of list.querySelectorAll("li[data-id]")) {
      const cells = item.querySelectorAll("[data-share], [data-sure]");
      if (cells.length) cells.forEach((cell, k) => { cell.textContent = (shares.get(Number(item.dataset.id)) || ["", ""])[k]; });
    }
  }

  function show(answer) {
    shares = new Map();
    if (answer) {
      const sure = certainty(answer);
      for (const found of answer.classes) {
        const mean = sure(found.id);
        shares.set(found.id, [share(found.percent), mean === null ? "–" : share(100 * mean)]);
      }
      const by = answer.by === "model" ? `Proposed by “${answer.by_name || "your model"}”.` : learnt(answer.images);
      const sureness = answer.mean_confidence === null ? "" : `${Math.round(100 * answer.mean_confidence)} % confident. `;
      const next = answer.proposal ? " Accept it, or scribble where it is wrong." : "";
      say("answered", sureness + by + next);
    }
    rows();
  }

  function say(state, text) {
    line.dataset.state = state;
    if (text) line.querySelector("[data-live-text]").textContent = text;
  }

  return { show, say, rows };
}
