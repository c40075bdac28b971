// Who wants to know when something changes.

export class Emitter {
  constructor() {
    this.listeners = new Map();
  }

  /** Calls `listener(value)` whenever `name` is emitted; returns what takes it off again. */
  on(name, listener) {
    if (!this.listeners.has(name)) this.listeners.set(name, new Set());
    this.listeners.get(name).add(listener);
    return () => this.listeners.get(name).delete(listener);
  }

  emit(name, value) {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(value);
  }
}
