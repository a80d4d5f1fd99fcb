"""PyTorch's side of train.rs: reads the ids of queries and of passages, then does one step for each further line.

Prints seconds and loss of each step. Two threads; attention by PyTorch's own fused kernel.
"""
import json, sys, time
import torch
from transformers import AutoConfig, AutoModel

torch.set_num_threads(2)
folder, dropout = sys.argv[1], float(sys.argv[2])
config = AutoConfig.from_pretrained(folder)
config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
model = AutoModel.from_pretrained(folder, config=config, add_pooling_layer=False).train()
queries, passages = (torch.tensor(json.loads(sys.stdin.readline())) for _ in range(2))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
targets = 2 * torch.arange(len(queries))

for line in sys.stdin:
    start = time.perf_counter()
    rows = [model(input_ids=ids).last_hidden_state.mean(1) for ids in (queries, passages)]
    loss = torch.nn.functional.cross_entropy(rows[0] @ rows[1].T, targets)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss = loss.item()
    print(time.perf_counter() - start, loss, flush=True)
