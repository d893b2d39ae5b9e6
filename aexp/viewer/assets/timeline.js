// The timeline: workflows as lanes, steps as bars, each process's life as a band, each kill a line.
//
// Bars are painted on a canvas that is as large as what can be seen. Over it lies a listbox whose
// options are the lanes and bars in sight, so that a screen reader and the keyboard have the same.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el, place, clamp, signs } = aexp;
  const { format, makeScale, layLanes } = aexp.layout;
  const { ROW, LANE_PAD, readInk, paint, boxOf } = aexp.paint;
  const { describe, detail, isLane, count } = aexp.details;
  const { drawMarks, legend, keys } = aexp.marks;

  const LABELS = 264;
  const NARROW = 620;
  const LANE_HEAD = 17;
  const MOST_OPTIONS = 300;
  const LEAST_SPAN = 2;
  const CUT_SHORT = new Set(['killed', 'vanished', 'failed', 'interrupted']);
  const SHOW = {
    all: ['All workflows', () => true],
    hit: ['Hit by a kill', (lane) => lane.hit],
    troubled: ['Not ended well', (lane) => lane.troubled],
  };

  class TimelineView {
    /** ``offer(item)`` gives what can be done about an item, for the foot of its panel. */
    constructor(offer) {
      this.offer = offer;
      this.view = null;
      this.cursor = null;
      this.opened = null;
      this.show = 'all';
      this.build();
      this.listen();
    }

    build() {
      const button = (text, label, act) => el(
        'button', { type: 'button', 'aria-label': label, title: label, on: { click: act } }, text);
      this.filter = el('select', { 'aria-label': 'Which workflows', on: {
        change: () => { this.show = this.filter.value; this.laneChange(); },
      } }, Object.entries(SHOW).map(([value, [text]]) => el('option', { value }, text)));
      this.steps = el('span', { class: 'tl-jumps' },
        button('‹ kill', 'Previous kill', () => this.jump(-1)),
        button('kill ›', 'Next kill', () => this.jump(1)));
      this.tools = el('div', { class: 'tl-tools', role: 'group', 'aria-label': 'Timeline view' },
        button('−', 'Zoom out', () => this.zoom(1.6)),
        button('+', 'Zoom in', () => this.zoom(1 / 1.6)),
        button('Whole run', 'Show the whole run', () => this.whole()),
        this.steps, this.filter);
      this.head = el('div', { class: 'tl-head', 'aria-hidden': 'true' });
      this.canvas = el('canvas', { class: 'tl-canvas', 'aria-hidden': 'true' });
      this.options = el('div', { class: 'tl-options', role: 'presentation' });
      this.scroll = el('div', {
        class: 'tl-scroll', role: 'listbox', tabindex: '0', 'aria-label': 'Workflows and their steps',
        'aria-describedby': 'tl-keys',
      }, this.canvas, this.options);
      this.marks = el('div', { class: 'tl-marks', 'aria-hidden': 'true' });
      this.tip = el('div', { class: 'tl-tip', 'aria-hidden': 'true', hidden: true });
      this.frame = el('div', { class: 'tl-frame' }, this.head, this.scroll, this.marks, this.tip);
      this.panel = el('aside', { class: 'tl-panel', 'aria-label': 'Details', hidden: true });
      this.note = el('p', { class: 'quiet', hidden: true });
      this.cutList = el('ul', { class: 'sr-only', 'aria-label': 'Processes that were cut short' });
      this.element = el('div', { class: 'timeline' }, this.tools, this.note,
        el('div', { class: 'tl-main' }, this.frame, this.panel), this.cutList, legend(), keys());
    }

    // --- data ---------------------------------------------------------------------------------

    /** Show ``timeline``; what was in view, open or under the cursor stays so. */
    set(timeline) {
      const kept = this.view && this.scale && !this.isWhole()
        ? [this.scale.toMs(this.view.u0), this.scale.toMs(this.view.u1)] : null;
      this.timeline = timeline;
      this.scale = makeScale(timeline);
      this.lives = timeline.processes.map((life) => Object.assign({}, life, {
        u0: this.scale.toU(life.began), u1: this.scale.toU(life.ended),
      }));
      this.cuts = this.lives.filter((life) => CUT_SHORT.has(life.kind));
      this.allLanes = layLanes(timeline, this.scale);
      this.items = new Map();
      for (const lane of this.allLanes) {
        this.items.set(lane.key, lane);
        for (const item of lane.items) this.items.set(item.key, item);
      }
      this.view = kept
        ? { u0: this.scale.toU(kept[0]), u1: this.scale.toU(kept[1]) } : this.wholeView();
      this.tell();
      this.choose();
      if (this.opened) this.fillPanel();
    }

    tell() {
      const { timeline } = this;
      const left = Object.entries(timeline.truncated).map(([what, n]) => {
        const names = { lanes: 'workflow', bars: 'step', bodies: 'attempt' };
        return count(n, names[what] || what);
      });
      this.note.textContent = `Not shown: ${left.join(', ')} more.`;
      this.note.hidden = left.length === 0;
      this.steps.hidden = this.cuts.length === 0;
      this.filter.hidden = this.allLanes.length < 2;
      this.cutList.replaceChildren(...this.cuts.map((life) => el('li', {},
        `Process ${life.number}, pid ${life.pid}: ${life.how} at ${format.seconds(life.ended)}`)));
    }

    /** The lanes that the filter lets through, each at its height. */
    choose() {
      this.lanes = this.allLanes.filter(SHOW[this.show][1]);
      this.narrow = this.frame.clientWidth < NARROW;
      let y = 0;
      this.lanes.forEach((lane, number) => {
        lane.number = number;
        lane.y = y;
        lane.head = this.narrow ? LANE_HEAD : 0;
        lane.height = lane.rows * ROW + LANE_PAD + lane.head;
        y += lane.height;
      });
      this.total = y;
      this.options.style.height = `${y}px`;
    }

    laneChange() {
      this.choose();
      this.scroll.scrollTop = 0;
      this.draw();
    }

    // --- the view -----------------------------------------------------------------------------

    wholeView() {
      const margin = this.scale.length * 0.012;
      return { u0: -margin, u1: this.scale.length + margin };
    }

    isWhole() {
      const whole = this.wholeView();
      return this.view.u0 <= whole.u0 && this.view.u1 >= whole.u1;
    }

    whole() {
      this.view = this.wholeView();
      this.schedule();
    }

    /** Look at a part of the axis, as far as there is one. */
    look(u0, span) {
      const whole = this.wholeView();
      const width = clamp(span, LEAST_SPAN, whole.u1 - whole.u0);
      const from = clamp(u0, whole.u0, whole.u1 - width);
      this.view = { u0: from, u1: from + width };
      this.schedule();
    }

    zoom(factor, at = 0.5) {
      const span = this.view.u1 - this.view.u0;
      const width = clamp(span * factor, LEAST_SPAN, Infinity);
      this.look(this.view.u0 + (span - width) * at, width);
    }

    pan(share) {
      const span = this.view.u1 - this.view.u0;
      this.look(this.view.u0 + share * span, span);
    }

    /** To the next kill in a direction, close enough to see what was under way. */
    jump(direction) {
      if (!this.cuts.length) return;
      const middle = (this.view.u0 + this.view.u1) / 2;
      const near = this.scale.length * 0.001;
      const ahead = this.cuts.filter((life) => direction * (life.u1 - middle) > near);
      const next = direction > 0 ? ahead[0] : ahead[ahead.length - 1];
      const life = next || (direction > 0 ? this.cuts[0] : this.cuts[this.cuts.length - 1]);
      const span = Math.min(this.view.u1 - this.view.u0, this.scale.length * 0.3);
      this.look(life.u1 - span / 2, span);
    }

    geometry() {
      const left = this.narrow ? 0 : LABELS;
      const width = Math.max(40, this.scroll.clientWidth - left);
      const { u0, u1 } = this.view;
      return { left, width, height: this.scroll.clientHeight, top: this.scroll.scrollTop,
        x: (u) => ((u - u0) / (u1 - u0)) * width };
    }

    laneAt(y) {
      let [low, high] = [0, this.lanes.length - 1];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (this.lanes[middle].y <= y) low = middle; else high = middle - 1;
      }
      return this.lanes[low];
    }

    lanesIn(top, height) {
      if (!this.lanes.length) return [];
      const first = this.laneAt(top).number;
      const last = this.laneAt(top + height).number;
      return this.lanes.slice(first, last + 1);
    }

    // --- drawing ------------------------------------------------------------------------------

    schedule() {
      if (this.pending) return;
      this.pending = requestAnimationFrame(() => { this.pending = null; this.draw(); });
    }

    draw() {
      if (!this.element.isConnected || !this.timeline) return;
      if ((this.frame.clientWidth < NARROW) !== this.narrow) this.choose();
      this.ink = this.ink || readInk(this.element);
      const at = this.geometry();
      const lanes = this.lanesIn(at.top, at.height);
      place(this.canvas, { left: at.left, width: at.width, height: at.height });
      this.canvas.style.marginBottom = `${-at.height}px`;
      paint(this.canvas, this.ink, lanes, Object.assign({ lives: this.lives }, at));
      drawMarks(this, at);
      this.drawOptions(at, lanes);
      this.element.dataset.lanesDrawn = String(lanes.length);
    }

    drawOptions(at, lanes) {
      const options = [];
      for (const lane of lanes) options.push(this.laneOption(lane, at));
      const bars = [];
      for (const lane of lanes) {
        for (const item of lane.items) {
          if (at.x(item.u1) >= 0 && at.x(item.u0) <= at.width) bars.push(item);
        }
      }
      // Those nearest to the cursor, where there are more than a page bears.
      const cursor = bars.findIndex((item) => item.key === this.cursor);
      const from = clamp(cursor - MOST_OPTIONS / 2, 0, Math.max(0, bars.length - MOST_OPTIONS));
      for (const item of bars.slice(from, from + MOST_OPTIONS)) {
        options.push(this.barOption(item, at));
      }
      this.options.replaceChildren(...options);
      const active = this.options.querySelector('.cursor');
      if (active) this.scroll.setAttribute('aria-activedescendant', active.id);
      else this.scroll.removeAttribute('aria-activedescendant');
    }

    option(item, id, className, ...children) {
      const state = (item.key === this.cursor ? ' cursor' : '')
        + (item.key === this.opened ? ' opened' : '');
      return el('div', { id, class: className + state, role: 'option', 'data-key': item.key,
        'aria-label': describe(this.timeline, item),
        'aria-selected': item.key === this.opened ? 'true' : 'false' }, ...children);
    }

    laneOption(lane, at) {
      const option = this.option(lane, `tl-${lane.number}`, 'tl-lane',
        el('span', { class: `sign ${lane.status}` }, signs[lane.status] || '?'),
        el('span', { class: 'name' }, lane.name), el('span', { class: 'id' }, lane.workflow_id));
      const indent = Math.min(lane.depth, 8) * (this.narrow ? 8 : 14);
      option.style.paddingLeft = `${8 + indent}px`;
      return place(option, { top: lane.y, height: this.narrow ? LANE_HEAD + 2 : lane.height - 1,
        width: this.narrow ? at.width : LABELS });
    }

    barOption(item, at) {
      const lane = item.lane;
      const box = boxOf(item, lane.y + lane.head + LANE_PAD / 2, at.x);
      const from = Math.max(0, box.x);
      const to = Math.min(at.width, box.x + box.w);
      return place(this.option(item, `tl-${lane.number}-${item.place}`, 'tl-bar'),
        { left: at.left + from, top: box.y, width: Math.max(3, to - from), height: box.h });
    }

    // --- events ---------------------------------------------------------------------------------

    listen() {
      this.pointer = new aexp.Pointer(this);
      this.scroll.addEventListener('scroll', () => this.schedule(), { passive: true });
      this.scroll.addEventListener('keydown', (event) => aexp.timelineKey(this, event));
      this.scroll.addEventListener('focus', () => this.focused());
      this.panel.addEventListener('keydown', (event) => {
        if (event.key === 'Escape') this.close();
      });
      new ResizeObserver(() => this.schedule()).observe(this.frame);
      matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
        this.ink = null;
        this.schedule();
      });
    }

    // --- cursor and panel ---------------------------------------------------------------------

    focused() {
      if (!this.items.has(this.cursor) && this.lanes.length) this.cursor = this.lanes[0].key;
      this.schedule();
    }

    /** Put the cursor on ``item`` and bring it into sight. */
    moveTo(item) {
      this.cursor = item.key;
      const lane = item.lane || item;
      const { scrollTop, clientHeight } = this.scroll;
      if (lane.y < scrollTop) this.scroll.scrollTop = lane.y;
      if (lane.y + lane.height > scrollTop + clientHeight) {
        this.scroll.scrollTop = lane.y + Math.min(lane.height, clientHeight) - clientHeight;
      }
      const { u0, u1 } = this.view;
      if (!isLane(item) && (item.u1 < u0 || item.u0 > u1)) {
        this.look((item.u0 + item.u1 - (u1 - u0)) / 2, u1 - u0);
      }
      this.draw();
    }

    /** Open ``item``; by the keyboard the focus goes along, to be read from there. */
    open(item, byKeyboard) {
      this.opened = item.key;
      this.cursor = item.key;
      this.fillPanel();
      this.draw();
      if (byKeyboard) this.panel.querySelector('h3').focus();
      const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
      this.panel.scrollIntoView({ block: 'nearest', behavior: still ? 'auto' : 'smooth' });
    }

    fillPanel() {
      const item = this.items.get(this.opened);
      this.panel.hidden = !item;
      if (!item) {
        this.opened = null;
        return;
      }
      const focused = this.panel.contains(document.activeElement);
      this.panel.replaceChildren(
        el('header', {},
          el('h3', { tabindex: '-1' }, item.name),
          el('button', { type: 'button', class: 'close', 'aria-label': 'Close details',
            on: { click: () => this.close() } }, '✕')),
        ...detail(this.timeline, item, (id) => this.link(id)), ...this.offer(item));
      if (focused) this.panel.querySelector('h3').focus();
    }

    link(workflowId) {
      const lane = this.items.get(workflowId);
      if (!lane) return el('code', {}, workflowId);
      return el('button', { type: 'button', class: 'link', on: { click: () => {
        if (!this.lanes.includes(lane)) {
          this.show = this.filter.value = 'all';
          this.laneChange();
        }
        this.opened = lane.key;
        this.fillPanel();
        this.moveTo(lane);
      } } }, workflowId);
    }

    close() {
      const inside = this.panel.contains(document.activeElement);
      this.opened = null;
      this.panel.hidden = true;
      if (inside) this.scroll.focus();
      this.schedule();
    }
  }

  aexp.TimelineView = TimelineView;
})();
