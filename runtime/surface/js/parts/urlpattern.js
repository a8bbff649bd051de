// URLPattern: what a pattern is matched with is `{}` by default.
(function () {
const { core, primordials } = __bootstrap;
const { ObjectDefineProperty, ObjectGetOwnPropertyDescriptor, ReflectApply } = primordials;

const urlpattern = core.loadUnmended("ext:deno_web/01_urlpattern.js");
const { prototype } = urlpattern.URLPattern;

/** Puts a method that takes what is given before the platform's of this name. */
function mend(name) {
  const descriptor = ObjectGetOwnPropertyDescriptor(prototype, name);
  const { value: method } = descriptor;
  const mended = {
    [name](...given) {
      return ReflectApply(method, this, given.length === 0 ? [{}] : given);
    },
  };
  ObjectDefineProperty(prototype, name, { __proto__: null, ...descriptor, value: mended[name] });
}

mend("test");
mend("exec");

return urlpattern;
})();
