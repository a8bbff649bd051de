// Enforces NetworkPolicies on a cluster of one node, whose network does not.
//
// kube-network-policies judges the first packet of each connection. Its own way to be asked is an nftables `queue`, which not every kernel
// has, so the script that starts this leads packets to it by the NFQUEUE of iptables. The judge complains of its rules in the log, and judges.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	node := flag.String("node", "", "the name of the node in whose network this runs")
	queue := flag.Int("queue", 100, "the number of the queue that packets come by")
	flag.Parse()
	if err := run(*node, *queue); err != nil {
		fmt.Fprintln(os.Stderr, "enforcer:", err)
		os.Exit(1)
	}
}

// Judges until it is told to end.
func run(node string, queue int) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	// As JSON a policy that allows nothing would be taken for one that allows everything: `[]` for no rules.
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	shared := informers.NewSharedInformerFactory(client, 0)
	core := shared.Core().V1()
	judge, err := networkpolicy.NewController(
		client, shared.Networking().V1().NetworkPolicies(), core.Namespaces(), core.Pods(), nil, nil, nil, nil,
		networkpolicy.Config{NodeName: node, QueueID: queue},
	)
	if err != nil {
		return err
	}
	shared.Start(ctx.Done())
	return judge.Run(ctx)
}
