// Calls with relay.js as an application would, and notes what it is told.
window.caller = {
  states: [],
  events: [],
  error: null,
  controller: new AbortController(),
  async connect(options = {}) {
    const { connect } = await import("/relay.js");
    try {
      this.call = await connect({
        signal: this.controller.signal,
        onState: (state, error) => this.states.push(error ? `${state}: ${error.kind}` : state),
        onEvent: (event) => this.events.push(event),
        ...options,
      });
      return null;
    } catch (error) {
      const { name, kind, message, status, type, code, param, retryAfterS } = error;
      return { name, kind, message, status, type, code, param, retryAfterS };
    }
  },
  send(event) {
    try {
      this.call.send(event);
      return null;
    } catch (error) {
      return error.kind;
    }
  },
};
