// Stands in for deno_telemetry: deno_fetch reads these two and, finding them, leaves it out.
import { internals } from "ext:core/mod.js";

internals.__telemetry ??= {
  TRACING_ENABLED: false,
  PROPAGATORS: [],
  builtinTracer() {},
  ContextManager: { active() {} },
  DID_NOT_ENTER: undefined,
  enterSpan() {},
  exitSpan() {},
};
internals.__telemetryUtil ??= {
  updateSpanFromClientResponse() {},
  updateSpanFromError() {},
  updateSpanFromRequest() {},
};
