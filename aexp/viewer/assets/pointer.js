// The timeline by mouse and by finger.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el, place, clamp } = aexp;
  const { format } = aexp.layout;
  const { LANE_PAD, boxOf } = aexp.paint;
  const { describe, isLane } = aexp.details;

  const DRAG_PX = 4;
  // So far from a bar it is still meant.
  const NEAR_PX = 3;

  class Pointer {
    constructor(view) {
      this.view = view;
      this.down = new Map();
      this.dragged = false;
      const on = (event, act, options) => view.scroll.addEventListener(event, act, options);
      on('wheel', (event) => this.wheel(event), { passive: false });
      on('pointerdown', (event) => this.press(event));
      on('pointermove', (event) => this.move(event));
      on('pointerup', (event) => this.release(event));
      on('pointercancel', (event) => this.down.delete(event.pointerId));
      on('pointerleave', () => { view.tip.hidden = true; });
      on('click', (event) => this.click(event));
    }

    /** Where on the lanes a place of the window is, and what share of their width that is. */
    at(clientX) {
      const at = this.view.geometry();
      const x = clientX - this.view.scroll.getBoundingClientRect().left - at.left;
      return Object.assign(at, { pointer: x, share: clamp(x / at.width, 0, 1) });
    }

    /** Scrolling is the page's; with Ctrl (or two fingers) it zooms, sideways it pans. */
    wheel(event) {
      const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
      const at = this.at(event.clientX);
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        this.view.zoom(Math.exp(clamp(event.deltaY, -100, 100) / 160), at.share);
      } else if (Math.abs(sideways) > (event.shiftKey ? 0 : Math.abs(event.deltaY))) {
        event.preventDefault();
        this.view.pan(sideways / at.width);
      }
    }

    press(event) {
      this.dragged = this.down.size > 0;
      this.down.set(event.pointerId, { x: event.clientX, from: event.clientX });
    }

    move(event) {
      const pointer = this.down.get(event.pointerId);
      if (!pointer) {
        this.hover(event);
        return;
      }
      const other = [...this.down].find(([id]) => id !== event.pointerId);
      if (other) this.pinch(pointer.x, event.clientX, other[1].x);
      else if (!this.drag(event, pointer)) return;
      pointer.x = event.clientX;
    }

    /** Two fingers: what was between them stays there. */
    pinch(before, now, other) {
      const apart = (x) => Math.max(20, Math.abs(x - other));
      this.view.zoom(apart(before) / apart(now), this.at((now + other) / 2).share);
    }

    /** Whether it is a drag, and no click that shook. */
    drag(event, pointer) {
      if (!this.dragged && Math.abs(event.clientX - pointer.from) <= DRAG_PX) return false;
      if (!this.dragged) this.view.scroll.setPointerCapture(event.pointerId);
      this.dragged = true;
      this.view.tip.hidden = true;
      this.view.pan((pointer.x - event.clientX) / this.view.geometry().width);
      return true;
    }

    /** Opens what was pressed. No click comes where a bar was drawn anew in between. */
    release(event) {
      const pressed = this.down.delete(event.pointerId);
      if (!pressed || this.dragged || event.button) return;
      const item = this.hit(event);
      if (item) this.view.open(item, false);
    }

    /** A click without a place is a screen reader's, on the option itself. */
    click(event) {
      const option = event.detail ? null : event.target.closest('[data-key]');
      const item = option && this.view.items.get(option.dataset.key);
      if (item) this.view.open(item, false);
    }

    /** What is under the pointer: a bar, or the workflow on its label. */
    hit(event) {
      const { view } = this;
      const at = this.at(event.clientX);
      const y = event.clientY - view.scroll.getBoundingClientRect().top + at.top;
      if (y < 0 || y > view.total || !view.lanes.length) return null;
      const lane = view.laneAt(y);
      const isUnder = (item) => {
        const box = boxOf(item, lane.y + lane.head + LANE_PAD / 2, at.x);
        return at.pointer >= box.x - NEAR_PX && at.pointer <= box.x + box.w + NEAR_PX
          && y >= box.y - 1 && y <= box.y + box.h + 1;
      };
      // The last one is drawn on top.
      const found = at.pointer < 0 ? null : lane.items.slice().reverse().find(isUnder);
      return found || (at.pointer < 0 || y < lane.y + lane.head ? lane : null);
    }

    hover(event) {
      if (event.pointerType === 'touch') return;
      const { view } = this;
      const item = this.hit(event);
      view.scroll.classList.toggle('over', Boolean(item));
      view.tip.hidden = !item;
      if (!item) return;
      const began = isLane(item) ? item.created : item.began;
      view.tip.replaceChildren(el('strong', {}, item.name),
        el('span', {}, describe(view.timeline, item, false)),
        el('span', { class: 'quiet' }, format.absolute(view.timeline.began_at + began)));
      this.placeTip(event);
    }

    placeTip(event) {
      const { tip, frame } = this.view;
      const box = frame.getBoundingClientRect();
      const left = clamp(event.clientX - box.left + 14, 4,
        Math.max(4, box.width - tip.offsetWidth - 4));
      const below = event.clientY - box.top + 18;
      const fits = below + tip.offsetHeight < box.height;
      place(tip, { left, top: fits ? below : below - tip.offsetHeight - 30 });
    }
  }

  aexp.Pointer = Pointer;
})();
