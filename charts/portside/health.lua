-- Argo CD's health check for ServerlessWorkerClass, by the status contract that kstatus reads too. In argocd-cm:
--   resource.customizations.health.portside.dev_ServerlessWorkerClass: |
--     <this file>
local function condition(kind)
  for _, found in ipairs(obj.status.conditions or {}) do
    if found.type == kind then
      return found
    end
  end
  return {}
end

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "waiting for the operator" }
end
local ready, stalled = condition("Ready"), condition("Stalled")
if stalled.status == "True" then
  return { status = "Degraded", message = stalled.message }
end
if condition("Reconciling").status == "True" then
  return { status = "Progressing", message = ready.message }
end
if obj.spec.suspend then
  return { status = "Suspended", message = ready.message }
end
if ready.status == "True" then
  return { status = "Healthy", message = ready.message }
end
return { status = "Progressing", message = ready.message or "not ready" }
