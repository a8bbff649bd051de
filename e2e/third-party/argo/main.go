// What Argo CD makes of classes, without its servers: it compares and syncs as Argo CD's engine does, and asks Argo CD's Lua machine for
// health. What the cluster is to have comes from the standard input.
//
//	argo --health=health.lua health            # of the one object there
//	argo --namespace=team-a --application=chat diff
//	argo --health=health.lua --namespace=team-a --application=chat sync
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/health"
	"github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Argo CD's own annotation for which application has an object.
	tracking = "argocd.argoproj.io/tracking-id"
	// Its name where fields have managers.
	manager = "argocd-controller"
)

var (
	script      = flag.String("health", "", "the health check of classes, in Lua")
	namespace   = flag.String("namespace", "default", "the namespace of what has none")
	application = flag.String("application", "application", "the application, whose objects are pruned")
	timeout     = flag.Duration("timeout", 3*time.Minute, "for how long a sync may take")
)

// What became of one object in a sync.
type synced struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	flag.Parse()
	answer, err := run(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "argo:", err)
		os.Exit(1)
	}
	text, _ := json.Marshal(answer)
	fmt.Println(string(text))
}

func run(command string) (any, error) {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	objects, err := kube.SplitYAML(input)
	if err != nil {
		return nil, err
	}
	switch command {
	case "health":
		overrides, err := overrides()
		if err != nil {
			return nil, err
		}
		if len(objects) != 1 {
			return nil, fmt.Errorf("there are %d objects on the standard input, not one", len(objects))
		}
		return health.GetResourceHealth(objects[0], overrides)
	case "diff":
		return compare(objects)
	case "sync":
		return apply(objects)
	default:
		return nil, fmt.Errorf("there is no command %q: it is health, diff or sync", command)
	}
}

// The health check, as argocd-cm has it in resource.customizations.
func overrides() (lua.ResourceHealthOverrides, error) {
	text, err := os.ReadFile(*script)
	check := v1alpha1.ResourceOverride{HealthLua: string(text)}
	return lua.ResourceHealthOverrides{"portside.dev/ServerlessWorkerClass": check}, err
}

// What is live, with the application of each object.
func connect(objects []*unstructured.Unstructured) (*rest.Config, cache.ClusterCache, error) {
	for _, object := range objects {
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[tracking] = *application
		object.SetAnnotations(annotations)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, nil, err
	}
	remember := func(object *unstructured.Unstructured, _ bool) (any, bool) {
		tracked := object.GetAnnotations()[tracking]
		return tracked, tracked != ""
	}
	live := cache.NewClusterCache(config,
		cache.SetNamespaces([]string{*namespace}), cache.SetClusterResources(true),
		cache.SetLogr(logr.Discard()), cache.SetPopulateResourceInfoHandler(remember))
	return config, live, live.EnsureSynced()
}

func managed(resource *cache.Resource) bool {
	return resource.Info == *application
}

// The names of those that are not as they should be.
func compare(objects []*unstructured.Unstructured) ([]string, error) {
	_, live, err := connect(objects)
	if err != nil {
		return nil, err
	}
	found, err := live.GetManagedLiveObjs(objects, managed)
	if err != nil {
		return nil, err
	}
	pairs := sync.Reconcile(objects, found, *namespace, live)
	result, err := diff.DiffArray(pairs.Target, pairs.Live, diff.WithLogr(logr.Discard()))
	if err != nil {
		return nil, err
	}
	differ := []string{}
	for index, one := range result.Diffs {
		if one.Modified {
			object := pairs.Target[index]
			if object == nil {
				object = pairs.Live[index]
			}
			differ = append(differ, object.GetKind()+"/"+object.GetName())
		}
	}
	return differ, nil
}

// Makes the cluster as the objects are, wave by wave, and deletes what the application had before and has no more.
func apply(objects []*unstructured.Unstructured) ([]synced, error) {
	checks, err := overrides()
	if err != nil {
		return nil, err
	}
	config, live, err := connect(objects)
	if err != nil {
		return nil, err
	}
	phase, message, results, begun := common.OperationRunning, "", []common.ResourceSyncResult(nil), metav1.Now()
	for until := time.Now().Add(*timeout); !phase.Completed(); time.Sleep(time.Second) {
		if time.Now().After(until) {
			return nil, fmt.Errorf("the sync is not done after %s: %s", *timeout, message)
		}
		found, err := live.GetManagedLiveObjs(objects, managed)
		if err != nil {
			return nil, err
		}
		pairs := sync.Reconcile(objects, found, *namespace, live)
		// A new one for each look, as Argo CD's controller does: one remembers the objects that it has begun with.
		step, stop, err := sync.NewSyncContext("revision", pairs, config, config, &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}},
			*namespace, live.GetOpenAPISchema(), sync.WithInitialState(phase, message, results, begun), sync.WithPrune(true),
			sync.WithServerSideApply(true), sync.WithServerSideApplyManager(manager), sync.WithHealthOverride(checks), sync.WithLogr(logr.Discard()))
		if err != nil {
			return nil, err
		}
		step.Sync()
		phase, message, results = step.GetState()
		stop()
	}
	if phase != common.OperationSucceeded {
		return nil, fmt.Errorf("the sync has failed: %s: %v", message, results)
	}
	answer := []synced{}
	for _, result := range results {
		answer = append(answer, synced{result.ResourceKey.Kind, result.ResourceKey.Name, string(result.Status), result.Message})
	}
	return answer, nil
}
