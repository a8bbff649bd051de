// What deno_*'s scripts are given as they are loaded: a copy of "ext:core/mod.js", with operations of its own.
(function () {
  return __bootstrap;
})();
