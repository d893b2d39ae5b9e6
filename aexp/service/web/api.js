// The service's own HTTP interface, as its pages use it.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;

  /** What the service answers, as JSON; an error that says what is wrong in the service's words. */
  aexp.ask = async (path, method = 'GET', body) => {
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new Error('the service does not answer');
    }
    const text = await answer.text();
    const told = text && /json/.test(answer.headers.get('Content-Type') || '') ? JSON.parse(text) : null;
    if (!answer.ok) {
      const each = told?.errors ? told.errors.map((one) => `${one.where}: ${one.what}`) : [];
      const error = new Error([told ? told.detail : `HTTP ${answer.status}`, ...each].join('; '));
      error.status = answer.status;
      throw error;
    }
    return told;
  };

  /** Show what went wrong in ``place``, or nothing. */
  aexp.trouble = (place, error) => {
    place.textContent = error ? error.message : '';
    place.hidden = !error;
  };

  /** Whether a status is an end, and a good one. */
  aexp.kind = (status) => {
    if (status === 'SUCCESS') return 'good';
    return ['PENDING', 'ENQUEUED', 'DELAYED', 'NOT STARTED'].includes(status) ? 'open' : 'bad';
  };
})();
