import pytest
import torch
from transformers import GenerationConfig

from rl.credit.silence import NameWatch
from rl.policy.loading import load_policy
from rl.sharing import early_stop
from rl.sharing.prefill import prompts_prefilled_once

ROWS = [2] * 6 + [0] * 5 + [5] * 9  # prompts with 3, 2 and 3 images, of unlike lengths


@pytest.fixture(params=[0, 10_000], ids=["shared", "copied"])
def asked(policy_path, rows, request, monkeypatch):
    """A policy, twenty prompts in three groups, and a way to draw that counts rows."""
    monkeypatch.setattr("rl.sharing.prefill.COPIED", request.param)
    model, processor = load_policy(policy_path)
    texts = [
        processor.apply_chat_template(rows[i]["prompt"], add_generation_prompt=True) for i in ROWS
    ]
    inputs = processor(
        text=texts, images=[rows[i]["images"] for i in ROWS], padding=True, return_tensors="pt"
    )
    held = []
    model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: held.append(kwargs["inputs_embeds"].size(0)), with_kwargs=True
    )

    def draw(drop: bool, **options):
        held.clear()
        torch.manual_seed(7)
        with prompts_prefilled_once(model, drop_finished=drop), torch.no_grad():
            tokens = model.generate(
                **inputs,
                generation_config=GenerationConfig(max_new_tokens=40, pad_token_id=0, **options),
            )
        return tokens, sum(held[1:])

    return draw, inputs["input_ids"].size(1)


def common_tokens(tokens: torch.Tensor) -> list[int]:
    """Tokens that make good ends, because a random policy draws them at unlike times."""
    values, counts = tokens.unique(return_counts=True)
    return values[counts.argsort(descending=True)][:3].tolist()


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_completions_are_the_same_with_fewer_rows_in_all(asked, penalty):
    draw, prompt = asked
    free, _ = draw(False, do_sample=False, eos_token_id=2, repetition_penalty=penalty)
    # A token that the groups say at different times is made the end.
    firsts = {}
    for row in (0, 6, 11):
        for place, token in enumerate(free[row, prompt:].tolist()):
            firsts.setdefault(token, {}).setdefault(row, place)
    end = max(firsts, key=lambda token: len({*firsts[token].values()}))
    settings = dict(do_sample=False, eos_token_id=[end, 2], repetition_penalty=penalty)
    (whole, rows), (dropped, fewer) = (draw(drop, **settings) for drop in (False, True))
    assert torch.equal(whole, dropped)
    assert fewer <= rows


def test_sampled_completions_end_where_they_end(asked):
    draw, prompt = asked
    free, _ = draw(False, do_sample=True, eos_token_id=2)
    ends = common_tokens(free[:, prompt:])
    settings = dict(do_sample=True, eos_token_id=ends, top_k=20, temperature=0.9)
    (whole, rows), (dropped, fewer) = (draw(drop, **settings) for drop in (False, True))
    assert fewer < rows
    assert dropped.size(0) == len(ROWS) and dropped.size(1) <= prompt + 40
    for tokens in dropped[:, prompt:].tolist():
        places = [i for i, token in enumerate(tokens) if token in ends]
        if places:  # nothing is drawn behind an end
            assert set(tokens[places[0] + 1 :]) <= {0}
    # Up to the first stop, both drew by the same random numbers.
    assert torch.equal(whole[:, : prompt + 1], dropped[:, : prompt + 1])


def test_who_is_left_is_drawn_as_before():
    """Tokens drawn after rows have left are as frequent as they are likely."""
    torch.manual_seed(0)
    logits = torch.randn(50)
    likely = logits.softmax(-1)

    class Body:
        rope_deltas = None

    def generate(input_ids, stopping_criteria, logits_processor, **_):
        """Stands in for a model that says the same of every row, so that frequencies are known."""
        while input_ids.size(1) < 1 + 6:
            scores = logits.expand(len(input_ids), -1)
            for processor in logits_processor or ():
                scores = processor(input_ids, scores)
            drawn = torch.multinomial(scores.softmax(-1), 1)
            input_ids = torch.cat([input_ids, drawn], 1)
            if stopping_criteria(input_ids, None).all():
                break
        return input_ids

    class Cache:
        def batch_select_indices(self, rows):
            pass

    model = type("Model", (), {"base_model": Body()})()
    start = torch.full((20_000, 1), 49)
    config = GenerationConfig(max_new_tokens=6, pad_token_id=60, eos_token_id=[0, 1, 2, 3, 4, 5])
    tokens = early_stop.generate_with_early_stop(
        generate, model, Cache(), start, torch.ones_like(start), config
    )
    for place in (1, 2, 5):
        seen = tokens[:, place][tokens[:, place] != 60]
        assert len(seen) > 200
        share = torch.bincount(seen, minlength=50) / len(seen)
        assert (share - likely).abs().max() < 4 * (0.25 / len(seen)) ** 0.5

    # A processor of one's own knows its rows when others have left.
    forced = [n % 3 == 0 for n in range(3000)]
    watch = NameWatch([frozenset({7, 8})] * 3000, forced, temperature=1.0)
    tokens = early_stop.generate_with_early_stop(
        generate, model, Cache(), start[:3000], torch.ones_like(start[:3000]), config, [watch]
    )[:, 1:]
    names = torch.isin(tokens, torch.tensor([7, 8])).any(1)
    assert not names[::3].any() and names[1::3].any() and names[2::3].any()
    recorded = watch.log_silent(tokens.size(1))[tokens != 60]
    torch.testing.assert_close(recorded.exp(), (1 - likely[7] - likely[8]).expand_as(recorded))


def test_options_that_count_from_the_start_keep_all_rows():
    config = GenerationConfig(max_new_tokens=5, eos_token_id=2)
    assert early_stop.unsupported_reason(config) is None
    config.min_new_tokens = 3
    assert "min_new_tokens counts from the start" in early_stop.unsupported_reason(config)
    assert "end token" in early_stop.unsupported_reason(GenerationConfig(max_new_tokens=5))
