// URL, with the functions that deno_web adds to it as Blob is loaded.
(function () {
const { core, primordials } = __bootstrap;
const { ReflectApply } = primordials;

const url = core.loadUnmended("ext:deno_web/00_url.js");
const { URL } = url;

const files = () => core.loadExtScript("ext:deno_web/09_file.js");
URL.createObjectURL = function createObjectURL(_blob) {
  return ReflectApply(files().createObjectURL, this, arguments);
};
URL.revokeObjectURL = function revokeObjectURL(_url) {
  return ReflectApply(files().revokeObjectURL, this, arguments);
};

return url;
})();
