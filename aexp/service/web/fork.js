// A fork of a run: asked for from its page as a whole, or at one of its steps.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { ask, el, trouble } = aexp;
  const byId = (id) => document.getElementById(id);

  /** The dialog that forks the run at ``here``: ``know`` it, ``open`` it, ``offer`` it at a bar. */
  aexp.forkDialog = (here) => {
    const dialog = byId('forking');
    const field = byId('start-step');
    const button = dialog.querySelector('.primary');
    let run = null;
    // The names of the steps of the root workflow, which alone is forked, by their numbers.
    let steps = new Map();

    function know(told, timeline) {
      run = told;
      const lane = timeline.lanes.find((one) => one.workflow_id === run.run_id);
      const [number, name] = ['function_id', 'name'].map((one) => timeline.columns.bars.indexOf(one));
      steps = new Map((lane ? lane.bars : []).map((bar) => [bar[number], bar[name]]));
    }

    /** What a fork from the chosen step does itself, and what it has from this run. */
    function explain() {
      const from = Number(field.value);
      const name = steps.has(from) ? ` (${steps.get(from)})` : '';
      const copied = from === 2 ? 'Step 1 is' : `Steps 1 to ${from - 1} are`;
      byId('start-step-hint').textContent = from <= 1
        ? 'A new run of the same: nothing is copied.'
        : `${copied} copied from this run, the rest from step ${from}${name} on is done anew. What`
          + ' the scenario itself promises cannot be judged of it.';
    }

    function open(step) {
      field.value = String(step);
      explain();
      trouble(byId('fork-trouble'), null);
      button.disabled = false;
      dialog.showModal();
      field.focus();
    }

    async function begin(event) {
      event.preventDefault();
      button.disabled = true;
      try {
        const fork = await ask(`${here}/fork`, 'POST', { start_step: Number(field.value) });
        location.assign(`/view/${encodeURIComponent(fork.run_id)}`);
      } catch (error) {
        trouble(byId('fork-trouble'), error);
        button.disabled = false;
      }
    }

    /** A button for the panel of a step of the root workflow. */
    function offer(item) {
      if (!run.forkable || !item.lane || item.lane.workflow_id !== run.run_id) return [];
      const act = { click: () => open(item.function_id) };
      return [el('p', { class: 'acts' },
        el('button', { type: 'button', on: act }, 'Fork from here'))];
    }

    field.addEventListener('input', explain);
    byId('fork-form').addEventListener('submit', begin);
    byId('fork-not').addEventListener('click', () => dialog.close());
    return { know, open, offer };
  };
})();
