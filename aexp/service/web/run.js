// One run: its view, drawn again as things befall it.
(() => {
  'use strict';
  const { ask, forkDialog, render, trouble, update } = globalThis.aexp;
  const AGAIN_MS = 600;
  const FOLLOW_AGAIN_MS = 2000;
  const byId = (id) => document.getElementById(id);
  const runId = decodeURIComponent(location.pathname.split('/').pop());
  const here = `/runs/${encodeURIComponent(runId)}`;
  const root = byId('aexp-view');
  const fork = forkDialog(here);
  let drawn = false;
  let drawing = false;
  let waiting = false;
  let source = null;
  let asked = 0;

  document.title = `${runId} – aexp`;

  async function draw() {
    asked += 1;
    const number = asked;
    const [data, run] = await Promise.all([
      ask(`/view/${encodeURIComponent(runId)}/data`), ask(`${here}?report=false`)]);
    // Who asked later draws what is newer.
    if (number !== asked) return run;
    // Before the view, which offers it.
    fork.know(run, data.timeline);
    if (drawn) update(root, data); else render(root, data, fork.offer);
    drawn = true;
    tell(run);
    return run;
  }

  function tell(run) {
    const bar = byId('progress');
    bar.hidden = !run.active || !run.progress;
    if (run.progress) {
      if (run.progress.total) bar.max = run.progress.total;
      bar.value = run.progress.done;
    }
    const counted = run.progress?.total ? ` ${run.progress.done} of ${run.progress.total}` : '';
    const origin = byId('origin');
    origin.hidden = !run.forked_from;
    if (run.forked_from) {
      origin.textContent = `Forked from ${run.forked_from.run_id}`;
      origin.href = `/view/${encodeURIComponent(run.forked_from.run_id)}`;
    }
    const absent = run.waiting_for.map((one) => one.executor_id).join(', ');
    const state = run.active ? `at work${counted}` : run.status;
    byId('state').textContent = absent ? `${state}, waits for executor ${absent}` : state;
    byId('cancel').disabled = run.ended;
    byId('resume').disabled = run.active || run.status === 'SUCCESS' || run.status === 'ERROR';
    byId('fork').disabled = !run.forkable;
    byId('delete').disabled = run.active;
  }

  /** Drawn soon, and not more often than it can be. */
  async function soon() {
    if (drawing) {
      waiting = true;
      return;
    }
    drawing = true;
    try {
      do {
        waiting = false;
        await draw();
        trouble(byId('trouble'), null);
        await new Promise((done) => { setTimeout(done, AGAIN_MS); });
      } while (waiting);
    } catch (error) {
      trouble(byId('trouble'), error);
    }
    drawing = false;
  }

  /** Events come until the run has ended. When the connection is lost the browser asks again; when
   * the answer is an error it does not, so that we do. */
  function follow() {
    if (source) source.close();
    const mine = new EventSource(`${here}/events`);
    source = mine;
    const ends = ['run.ended', 'run.failed', 'run.interrupted', 'run.cancelled'];
    for (const name of ['run.began', 'run.progressed', 'run.process_killed', ...ends]) {
      mine.addEventListener(name, soon);
    }
    mine.addEventListener('error', async () => {
      let over = false;
      try {
        over = (await draw()).ended;
      } catch (error) {
        // Deleted meanwhile.
        over = error.status === 404;
        trouble(byId('trouble'), error);
      }
      // Not the one that follows the run since it was resumed meanwhile.
      if (over) mine.close();
      else if (mine.readyState === EventSource.CLOSED) {
        setTimeout(() => { if (mine === source) follow(); }, FOLLOW_AGAIN_MS);
      }
    });
  }

  async function act(path, method) {
    for (const id of ['cancel', 'resume', 'fork', 'delete']) byId(id).disabled = true;
    try {
      await ask(path, method);
    } catch (error) {
      await soon();
      trouble(byId('trouble'), error);
      return false;
    }
    return true;
  }

  byId('cancel').addEventListener('click', async () => {
    if (await act(`${here}/cancel`, 'POST')) soon();
  });
  byId('resume').addEventListener('click', async () => {
    if (await act(`${here}/resume`, 'POST')) { follow(); soon(); }
  });
  byId('fork').addEventListener('click', () => fork.open(1));
  byId('delete').addEventListener('click', () => byId('sure').showModal());
  byId('sure').addEventListener('close', async () => {
    if (byId('sure').returnValue === 'yes' && await act(here, 'DELETE')) location.assign('/');
  });

  soon().then(() => { if (drawn) follow(); });
})();
