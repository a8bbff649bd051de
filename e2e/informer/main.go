// Watches workers as controllers do, with client-go, while somebody changes them.
//
// It holds three against each other: an informer, a watch that stays open, and one that ends every two seconds and goes on from the last
// resourceVersion that it has seen. Both watches have to tell the same in the same order, each thing once, and in the end the informer
// has to have what a list has.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

var resource = schema.GroupVersionResource{
	Group: "runtime.portside.dev", Version: "v1alpha1", Resource: "serverlessworkers",
}

// What a watch has told.
type told struct {
	Type, Name, Version, State string
}

// What is said in the end.
type result struct {
	Events     int      `json:"events"`
	Reconnects int      `json:"reconnects"`
	Bookmarks  int      `json:"bookmarks"`
	Workers    int      `json:"workers"`
	Wrong      []string `json:"wrong"`
}

func main() {
	namespace := flag.String("namespace", "default", "the namespace whose workers are watched")
	duration := flag.Duration("for", 30*time.Second, "for how long it is watched")
	settle := flag.Duration("settle", 10*time.Second, "how long what happened last may be on its way")
	flag.Parse()
	found, err := run(*namespace, *duration, *settle)
	if err != nil {
		fmt.Fprintln(os.Stderr, "informer:", err)
		os.Exit(2)
	}
	text, _ := json.Marshal(found)
	fmt.Println(string(text))
	if len(found.Wrong) > 0 {
		os.Exit(1)
	}
}

func run(namespace string, duration, settle time.Duration) (*result, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	workers := client.Resource(resource).Namespace(namespace)

	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, namespace, nil)
	informer := factory.ForResource(resource).Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("the informer has not listed")
	}

	list, err := workers.List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil, err
	}
	until := time.Now().Add(duration + settle)
	found := &result{Wrong: []string{}}
	stays := make(chan []told, 1)
	failed := make(chan error, 1)
	go func() {
		events, err := follow(ctx, workers, list.GetResourceVersion(), until, 0, nil)
		if err != nil {
			failed <- fmt.Errorf("the watch that stays: %w", err)
			return
		}
		stays <- events
	}()
	events, err := follow(ctx, workers, list.GetResourceVersion(), until, 2, found)
	if err != nil {
		return nil, fmt.Errorf("the watch that comes back: %w", err)
	}
	var other []told
	select {
	case other = <-stays:
	case err := <-failed:
		return nil, err
	}
	found.Events = len(events)
	found.compare(events, other)
	return found, found.compareStore(ctx, workers, informer.GetStore())
}

// Watches until then; with a timeout, again and again from the last version. What is told twice, or goes back, is wrong.
func follow(
	ctx context.Context, workers dynamic.ResourceInterface, version string, until time.Time, timeout int64, found *result,
) ([]told, error) {
	var all []told
	for time.Now().Before(until) {
		seconds := timeout
		if seconds == 0 {
			seconds = int64(time.Until(until).Seconds()) + 1
		}
		watching, err := workers.Watch(ctx, metav1.ListOptions{
			ResourceVersion: version, TimeoutSeconds: &seconds, AllowWatchBookmarks: true,
		})
		if err != nil {
			return nil, err
		}
		for event := range watching.ResultChan() {
			if event.Type == watch.Error {
				return nil, fmt.Errorf("%v", event.Object)
			}
			object, ok := event.Object.(*unstructured.Unstructured)
			if !ok {
				return nil, fmt.Errorf("an event with %T", event.Object)
			}
			version = object.GetResourceVersion()
			if event.Type == watch.Bookmark {
				if found != nil {
					found.Bookmarks++
				}
				continue
			}
			all = append(all, told{string(event.Type), object.GetName(), version, state(object)})
		}
		if found != nil {
			found.Reconnects++
		}
	}
	return all, nil
}

func state(object *unstructured.Unstructured) string {
	state, _, _ := unstructured.NestedString(object.Object, "status", "state")
	return state
}

// Both have told the same, each thing once. One of them may have ended before the other's last.
func (found *result) compare(one, other []told) {
	shorter := min(len(one), len(other))
	for index := range shorter {
		if one[index] != other[index] {
			found.wrong("event %d: %v and %v", index, one[index], other[index])
			return
		}
	}
	if difference := len(one) + len(other) - 2*shorter; difference > 0 {
		found.wrong("%d events were told to one watch alone", difference)
	}
	seen := map[string]bool{}
	for _, event := range one {
		if seen[event.Version] {
			found.wrong("told twice: %v", event)
		}
		seen[event.Version] = true
	}
}

// The informer has what a list has.
func (found *result) compareStore(ctx context.Context, workers dynamic.ResourceInterface, store cache.Store) error {
	listed := map[string]string{}
	options := metav1.ListOptions{Limit: 10}
	for {
		page, err := workers.List(ctx, options)
		if err != nil {
			return err
		}
		for index := range page.Items {
			listed[page.Items[index].GetName()] = state(&page.Items[index])
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			break
		}
	}
	known := map[string]string{}
	for _, item := range store.List() {
		object := item.(*unstructured.Unstructured)
		known[object.GetName()] = state(object)
	}
	found.Workers = len(listed)
	if !reflect.DeepEqual(listed, known) {
		found.wrong("listed %v, the informer has %v", listed, known)
	}
	return nil
}

func (found *result) wrong(format string, arguments ...any) {
	found.Wrong = append(found.Wrong, fmt.Sprintf(format, arguments...))
}
