// performance, whose origin is the start of the instance.
(function () {
const { core } = __bootstrap;
const performance = core.loadUnmended("ext:deno_web/15_performance.js");
performance.setTimeOrigin();
return performance;
})();
