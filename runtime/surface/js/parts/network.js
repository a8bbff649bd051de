// What a failure of the network says.
(function () {
const { StringPrototypeReplace } = __bootstrap.primordials;

const DENIED = /Requires (net access to "[^"]*"), run again with the --allow-net flag/;

/** With our settings in place of Deno's. */
function explained(text) {
  return StringPrototypeReplace(
    text,
    DENIED,
    "$1 is denied: a cloud's metadata service is unless --allow-network or spec.network.allow names it, " +
      "and so is what --deny-network or spec.network.deny names",
  );
}

return { explained };
})();
