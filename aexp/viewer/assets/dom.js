// Elements from data. Text is set as text, never read as markup: outputs of steps are shown here.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;

  /** An element with attributes and children; children that are null are left out. */
  aexp.el = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === 'on') {
        for (const [event, listener] of Object.entries(value)) {
          element.addEventListener(event, listener);
        }
      } else if (value !== null && value !== undefined && value !== false) {
        element.setAttribute(name, value === true ? '' : value);
      }
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return element;
  };

  /** Put an element at a place; through the CSSOM, which the page's policy allows. */
  aexp.place = (element, box) => {
    for (const [name, px] of Object.entries(box)) element.style[name] = `${px}px`;
    return element;
  };

  aexp.clamp = (value, least, most) => Math.min(most, Math.max(least, value));

  /** Each status and ending has a sign of its own, so that none is told by its colour alone. */
  aexp.signs = {
    SUCCESS: '✓', ERROR: '✕', PENDING: '…', ENQUEUED: '…', DELAYED: '…', CANCELLED: '■',
    killed: '✕', vanished: '?', failed: '!', interrupted: '■', completed: '✓', working: '…',
  };
})();
