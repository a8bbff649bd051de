// The operations as deno_*'s scripts see them when they are loaded: not those of "ext:core/mod.js", but a copy.
(function () {
  return __bootstrap.core.ops;
})();
