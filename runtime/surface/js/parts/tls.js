// Stands in for deno_net's script of this name, of which fetch needs one function.
(function () {
  return {
    loadTlsKeyPair() {
      throw new TypeError("client certificates are not supported");
    },
  };
})();
