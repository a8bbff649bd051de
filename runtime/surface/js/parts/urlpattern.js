// URLPattern: what a pattern is matched with is `{}` by default.
(function () {
const { core, primordials } = __bootstrap;
const { ReflectApply } = primordials;
const { replaceValue } = core.loadExtScript("ext:portside/properties.js");

const urlpattern = core.loadUnmended("ext:deno_web/01_urlpattern.js");
const { prototype } = urlpattern.URLPattern;

/** Puts a method that takes what is given before the platform's of this name. */
function mend(name) {
  const method = prototype[name];
  const mended = {
    [name](...given) {
      return ReflectApply(method, this, given.length === 0 ? [{}] : given);
    },
  };
  replaceValue(prototype, name, mended[name]);
}

mend("test");
mend("exec");

return urlpattern;
})();
