// The console, without colours: a log is read by programs, too.
(function () {
const { core } = __bootstrap;
const console = core.loadUnmended("ext:deno_web/01_console.js");
console.setNoColorFns(() => true, () => true);
return console;
})();
