// Mouse, pen and fingers on the paint page. One finger paints and two move and zoom; once a pen has been seen fingers only
// move, and what rests on the screen while the pen is down does nothing. How hard a pen presses does not matter.
const ERASER = 32; // in `buttons`: the pen's other end

// desk: {stage, view, tools, read(point), unread(), erase(whether)}
export function listenToPointers(desk) {
  const { stage, view, tools } = desk;
  const fingers = new Map(); // pointers that are down, and where
  let panning = false;
  let penSeen = false;
  let pen = null; // id of the pen that is down

  const spot = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left - stage.clientLeft, event.clientY - box.top - stage.clientTop];
  };

  function down(event) {
    if (event.button > 1 && !(event.buttons & ERASER)) return;
    if (event.target.closest("button")) return;
    if (pen !== null && event.pointerType === "touch") return; // a resting hand
    if (event.pointerType === "pen") lower(event);
    const at = spot(event);
    fingers.set(event.pointerId, at);
    stage.setPointerCapture(event.pointerId);
    tools.point(view.toImage(...at));
    if (fingers.size > 1) {
      tools.abandon();
      panning = true;
      return;
    }
    const moves = event.button === 1 || tools.name() === "hand" || stage.classList.contains("space");
    panning = moves || (event.pointerType === "touch" && penSeen);
    stage.classList.toggle("dragging", panning);
    if (!panning) tools.down(view.toImage(...at), event.shiftKey || event.altKey);
  }

  // The pen comes down: whatever the hand was doing on the screen ends.
  function lower(event) {
    [penSeen, pen] = [true, event.pointerId];
    if (fingers.size) {
      tools.abandon();
      fingers.clear();
    }
    desk.erase(Boolean(event.buttons & ERASER));
  }

  function pan(event, before, at) {
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    fingers.set(event.pointerId, at);
    if (!others.length) {
      view.pan(at[0] - before[0], at[1] - before[1]);
      return;
    }
    const span = (point) => Math.hypot(point[0] - others[0][0], point[1] - others[0][1]) || 1;
    view.zoom(span(at) / span(before), (at[0] + others[0][0]) / 2, (at[1] + others[0][1]) / 2);
    view.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
  }

  function move(event) {
    const before = fingers.get(event.pointerId);
    if (!before && pen !== null && event.pointerId !== pen) return;
    const at = spot(event);
    if (before && panning) {
      pan(event, before, at);
      return;
    }
    if (before) fingers.set(event.pointerId, at);
    const parts = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    const points = (parts.length ? parts : [event]).map((part) => view.toImage(...spot(part)));
    tools.point(points[points.length - 1]);
    tools.move(points);
    desk.read(points[points.length - 1]);
  }

  function up(event) {
    if (event.pointerId === pen) pen = null;
    if (!fingers.delete(event.pointerId)) return;
    stage.classList.remove("dragging");
    if (event.type === "pointercancel") tools.abandon();
    else tools.up();
    if (!fingers.size) panning = false;
    if (event.pointerType === "touch") tools.point(null);
    if (event.pointerType === "pen") desk.erase(false);
  }

  stage.addEventListener("pointerdown", down);
  stage.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, up);
  stage.addEventListener("pointerleave", () => {
    if (fingers.size) return;
    tools.point(null);
    desk.unread();
  });
  stage.addEventListener("dblclick", () => { if (tools.name() === "polygon") tools.closePolygon(); });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    view.zoom(Math.exp(-event.deltaY / 400), ...spot(event));
  }, { passive: false });
}
