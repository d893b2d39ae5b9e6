// A form from the JSON schema of a scenario's parameters.
(() => {
  'use strict';
  globalThis.aexp ??= {};
  const aexp = globalThis.aexp;
  const { el } = aexp;

  /** What a field takes, without the ``null`` that stands for leaving it out. */
  function plain(schema, field) {
    if (field.$ref) return plain(schema, schema.$defs[field.$ref.split('/').pop()]);
    const kind = (field.anyOf || []).find((one) => one.type !== 'null');
    return kind ? plain(schema, kind) : field;
  }

  function control(name, field, initial) {
    const common = { id: `parameter-${name}`, name, 'aria-describedby': `hint-${name}` };
    if (field.enum) {
      return el('select', common, field.enum.map((value) => (
        el('option', { value, selected: value === initial }, value))));
    }
    if (field.type === 'boolean') {
      return el('input', { ...common, type: 'checkbox', checked: initial === true });
    }
    const placeholder = initial === undefined || initial === null ? '' : String(initial);
    if (field.type !== 'integer' && field.type !== 'number') {
      return el('input', { ...common, type: 'text', placeholder });
    }
    return el('input', {
      ...common, type: 'number', placeholder, min: field.minimum, max: field.maximum,
      step: field.type === 'integer' ? 1 : 'any',
    });
  }

  /** The value of a field; undefined when it is left as it was. */
  function read(field, input, initial) {
    if (field.type === 'boolean') return input.checked === (initial === true) ? undefined : input.checked;
    if (input.value === '' || input.value === initial) return undefined;
    if (field.type === 'integer' || field.type === 'number') return Number(input.value);
    if (field.type === 'array') return input.value.split(',').map((part) => part.trim()).filter(Boolean);
    return input.value;
  }

  /** Fill ``place`` with the fields of ``schema``; a function that reads what was changed. */
  aexp.fields = (place, schema) => {
    const readers = [];
    place.replaceChildren(...Object.entries(schema.properties || {}).map(([name, given]) => {
      const field = plain(schema, given);
      const input = control(name, field, given.default);
      readers.push(() => [name, read(field, input, given.default)]);
      const label = field.type === 'boolean'
        ? el('label', { class: 'check' }, input, name)
        : [el('label', { for: input.id }, name), input];
      return el('div', { class: 'field' }, label,
        el('p', { class: 'hint', id: `hint-${name}` }, given.description || ''));
    }));
    return () => Object.fromEntries(readers.map((one) => one()).filter(([, value]) => value !== undefined));
  };
})();
