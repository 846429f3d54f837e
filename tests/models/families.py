"""Small random models of today's families, from the facts in families.yaml."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from helpers.config import Profile, load_profile
from helpers.finetune.metrics import describe
from helpers.finetune.recipe import identify, make_trainer, save
from helpers.finetune.settings import Settings
from helpers.models.inspection import fingerprint
from helpers.models.loading import load_model, load_tokenizer
from tests.models.tiny_model import WORDS

FAMILIES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # ten times the usual, so that answers depend on prompts
}
SYSTEM = {"role": "system", "content": "Reply with one word."}
QUESTION = {"role": "user", "content": "the tablet of order G4521 is broken"}
ANSWER = {"role": "assistant", "content": '{"queue": "QWZ", "order": null}'}
CHATS = [[QUESTION, ANSWER], [QUESTION, ANSWER, QUESTION, ANSWER]]
# One update, at the full rate, and nothing beside it.
ONE_UPDATE = {"max_steps": 1, "warmup_steps": 0, "eval_strategy": "no"}
ONE_UPDATE |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}
ONE_UPDATE |= {"max_length": 512}  # of single letters: SmolLM3 writes many


@dataclass(frozen=True)
class Family:
    """A family on disk: a tokenizer with its habits, and random weights of its layout.

    facts: its entry of families.yaml.
    """

    facts: dict
    folder: Path

    @cached_property
    def profile(self) -> Profile:
        """The tiny profile with that model, one update, on the CPU."""
        profile = load_profile("tiny", model=str(self.folder))
        training = profile.training_config | ONE_UPDATE
        training |= {"use_cpu": True, "output_dir": str(self.folder / "run")}
        return replace(profile, training_config=training)

    @cached_property
    def tokenizer(self):
        return load_tokenizer(self.profile)

    @cached_property
    def chats(self) -> list[list[dict]]:
        """Chats that the family can be trained on, with a system turn if it has one."""
        system = [] if refuses_system(self.facts) else [[SYSTEM, *CHATS[0]]]
        return [*CHATS, *system]

    @cached_property
    def splits(self):
        """Those chats, in each split."""
        from datasets import Dataset, DatasetDict

        rows = [{"prompt": chat[:-1], "completion": chat[-1:]} for chat in self.chats]
        split = Dataset.from_list(rows)
        return DatasetDict(train=split, validation=split, test=split)

    @cached_property
    def settings(self) -> Settings:
        return Settings(self.folder, self.folder / "out")

    @cached_property
    def trainer(self):
        """That of helpers.finetune on those chats, after one update."""
        trainer, _ = make_trainer(self.settings, self.profile, self.splits)
        trainer.train()
        trainer.model.eval()
        return trainer

    def publish(self, folder: Path) -> Path:
        """Writes the trained adapter as helpers.finetune does; returns the folder."""
        identity = identify(self.settings, self.profile, self.splits)
        identity |= {"base": fingerprint(self.plain)}
        scores = {"validation_loss": 1.0, "exact_match": 0.0, "intervals": {}}
        scores = {"before": scores, "after": scores}
        metrics = describe(self.trainer, self.settings, identity, scores)
        self.trainer.model.save_pretrained(kept := folder.with_name("checkpoint-1"))
        folder.mkdir()
        save(self.trainer, metrics, kept, folder)
        return folder

    def ids(self, tokens) -> list[int]:
        return self.tokenizer.convert_tokens_to_ids(tokens)

    def base(self):
        return load_model(self.profile)

    @cached_property
    def plain(self):
        """A base that is only looked at."""
        return self.base()


def refuses_system(facts: dict) -> bool:
    """Whether the template cannot be trained by with a system turn."""
    return facts.get("system", "").startswith(("refuses", "writes"))


def build(name: str, folder: Path) -> Family:
    """Writes a family into a folder as its authors would publish it."""
    facts = FAMILIES[name]
    tokenizer = published_tokenizer(facts)
    tokenizer.save_pretrained(folder)
    named = {f"{role}_token_id": None for role in ("bos", "eos", "pad")}
    for role, token in facts["tokens"].items():
        named[f"{role}_token_id"] = tokenizer.convert_tokens_to_ids(token)
    named.pop("unk_token_id", None)
    missing = facts.get("tokens_without_a_row", 0)
    rows = len(tokenizer) - missing if missing else 64 * (len(tokenizer) // 64 + 1)
    config = AutoConfig.for_model(**SIZES | facts["config"] | named, vocab_size=rows)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    stops = tokenizer.convert_tokens_to_ids(facts["stops"])
    own = facts.get("sampling", {})
    model.generation_config.update(
        **named | {"eos_token_id": stops}, do_sample=bool(own), **own
    )
    model.save_pretrained(folder, max_shard_size=facts.get("shard", "5GB"))
    return Family(facts, folder)


def published_tokenizer(facts: dict) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a family's special tokens, template and bos."""
    tokens = facts["tokens"]
    bpe = Tokenizer.from_str(plain_bpe())
    special = [*tokens.values(), *facts.get("special", [])]
    bpe.add_special_tokens(list(dict.fromkeys(special)))
    bpe.add_tokens(facts.get("plain", []))
    if facts["adds_bos"]:
        bos = (tokens["bos"], bpe.token_to_id(tokens["bos"]))
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{bos[0]} $A", special_tokens=[bos]
        )
    named = {f"{role}_token": token for role, token in tokens.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, chat_template=published_template(facts), **named
    )


def published_template(facts: dict) -> str:
    """The template of a family: TRL's copy of its own, or our text of its layout."""
    if own := facts["template"].get("layout"):
        return own
    kept = files("trl") / "chat_templates" / f"{facts['template']['trl']}.jinja"
    return kept.read_text(encoding="utf-8")


@cache
def plain_bpe() -> str:
    """Byte-level BPE of 300 tokens, none of them special, as JSON."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet)
    bpe.train_from_iterator(WORDS * 10, trainer)
    return bpe.to_str()
