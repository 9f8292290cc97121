"""The model: a resampler, a language body, gated blocks between its layers, and rows of its own.

Composition only: blocks act through pre-hooks of the body's layers, no class is swapped, every weight has one name and
one copy. Pictures come as patch tokens of the frozen tower (`vision.py`), which is no part of this module.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, GenerationMixin, MptConfig, MptModel, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from unimp import mpt
from unimp.batch import Batch
from unimp.config import UnimpConfig
from unimp.fusion import GatedCrossAttention, Media, Projection, block_layers
from unimp.item_rows import ItemContent
from unimp.losses import supervised_places
from unimp.resampler import Resampler
from unimp.routes import Routes
from unimp.rows import INIT_STD, Content, InputRows, OutputRows
from unimp.tree import NAME, Tree, has_branches

_LAST = ("attention.dense.weight", "dense_4h_to_h.weight", "to_out.weight", "feed.3.weight")  # ends of branches
# What blocks look at in the pass that is going on: each thread has its own, so that one model reads several batches.
_PASSING: ContextVar[Media | None] = ContextVar("pictures of a pass", default=None)


class Unimp(PreTrainedModel, GenerationMixin):
    """UniMP without its tower and tokenizer.

    `body` is GPT-NeoX or MPT, `blocks` its gated cross-attention by layer number (as a string), `resampler` turns patch
    tokens into latents, `embed` and `head` hold the rows of all ids.
    """

    config_class = UnimpConfig
    config: UnimpConfig
    base_model_prefix = "unimp"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["GPTNeoXLayer", "MptBlock", "GatedCrossAttention"]  # noqa: RUF012 - transformers' own form
    _supports_sdpa = True

    def __init__(self, config: UnimpConfig) -> None:
        super().__init__(config)
        new = config.text.vocab_size - config.text_ids
        self.body = _body(config)
        self.embed = InputRows(config.text_ids, new, config.width, config.width**0.5 if config.scaled else 1.0)
        has_content = config.item_rows == "content" and config.item_levels == 1
        self.head = OutputRows(config.text_ids, new, config.width, bias=has_content)
        self.content: ItemContent | None = None
        if has_content:
            seen = config.vision_width if config.fusion != "none" else 0
            self.content = ItemContent(config.text_ids, config.content_width, seen, config.width, config.items)
            self.embed.content = Content(config.items, self.content.read_rows)
            self.head.content = Content(config.items, self._predicted)
        self.resampler: Resampler | None = None
        self.projection: Projection | None = None
        self.blocks = nn.ModuleDict()
        if config.fusion != "none":
            self.resampler = Resampler(
                config.vision_width,
                config.latents,
                config.resampler_layers,
                config.resampler_heads,
                config.head_width,
                config.feed_forward,
            )
        if config.fusion == "cross_attention":
            for number in block_layers(len(self.layers), config.cross_every):
                self.blocks[str(number)] = GatedCrossAttention(
                    config.width,
                    config.vision_width,
                    config.cross_heads,
                    config.head_width,
                    config.feed_forward,
                    config.gate,
                )
        elif config.fusion != "none":
            self.projection = Projection(config)
        for number, layer in enumerate(self.layers):
            if str(number) in self.blocks:
                # A bound method, not a closure: a deep copy of the model then looks through its own blocks.
                layer.register_forward_pre_hook(partial(self._look, str(number)), with_kwargs=True)
        self.post_init()  # type: ignore[no-untyped-call]
        if config.scaled:
            self._spread()
        if self.content is not None:
            with torch.no_grad():
                self.head.new.weight[-config.items :].zero_()  # what prediction adds to reading is learned

    # Rows

    def _predicted(self, delta: Tensor) -> Tensor:
        assert self.content is not None
        return self.content.predict_rows(delta, self.embed.table()[-self.config.items :])

    def _spread(self) -> None:
        """First maps of deviation 1 / sqrt(inputs), those that end a residual branch smaller by 1 / sqrt(branches).

        The usual 0.02 is made for widths of thousands. At a width of 96 what depends on a token is then so small that
        Adam's first steps, all spent on how often which id comes, drown it: every answer is the same for hundreds of
        steps, and a weak signal such as a rating is not found at all. Rows are read at sqrt(width) for the same reason
        (Vaswani et al. 2017, section 3.4), and stay small where they predict.
        """
        parts = [self.body, self.blocks, self.resampler, self.projection]
        branches = 2 * (len(self.layers) + len(self.blocks))
        with torch.no_grad():
            for part in (one for one in parts if one is not None):
                for name, weight in part.named_parameters():
                    if weight.dim() == 2 and name != "latents":
                        last = name.endswith(_LAST) and part is not self.resampler  # whose stream is its own
                        nn.init.normal_(weight, std=(weight.shape[1] * (branches if last else 1)) ** -0.5)

    def _init_weights(self, module: nn.Module) -> None:
        """Normal weights of deviation 0.02; gates and latents keep what their modules gave them."""
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=INIT_STD)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, ItemContent):
            module.start()
        elif isinstance(module, Resampler):
            nn.init.normal_(module.latents)
        elif isinstance(module, GatedCrossAttention):
            nn.init.constant_(module.gate_attention, self.config.gate)
            nn.init.constant_(module.gate_feed, self.config.gate)

    def get_input_embeddings(self) -> nn.Module:
        """Rows by which ids are read."""
        return self.embed

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace them."""
        self.embed = value  # type: ignore[assignment]

    def get_output_embeddings(self) -> nn.Module:
        """Rows by which ids are predicted."""
        return self.head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace them."""
        self.head = value  # type: ignore[assignment]

    @property
    def layers(self) -> nn.ModuleList:
        """The body's layers."""
        found = self.body.blocks if hasattr(self.body, "blocks") else self.body.layers
        assert isinstance(found, nn.ModuleList)
        return found

    # Pictures

    def _look(self, number: str, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a layer is given instead: its hidden states having looked at pictures."""
        media = _PASSING.get()
        if media is None:
            return None
        block = self.blocks[number]
        # A hook stands outside the layer's own checkpointing, so the block is checkpointed here.
        if self.training and getattr(layer, "gradient_checkpointing", False) and torch.is_grad_enabled():
            return (checkpoint(block, args[0], media, use_reentrant=False), *args[1:]), kwargs
        return (block(args[0], media), *args[1:]), kwargs

    def latents(self, patches: Tensor | None) -> Tensor:
        """Latents `(pictures, latents, width)` of patch tokens `(pictures, patches, width)`."""
        if self.resampler is None or patches is None or not len(patches):
            return self.embed.new.weight.new_zeros((0, self.config.latents, self.config.vision_width))
        resampled: Tensor = self.resampler(patches.to(self.embed.new.weight.dtype))
        return resampled

    @contextmanager
    def seeing(self, latents: Tensor) -> Iterator[None]:
        """Inside, `generate` may name these pictures in `slots`; keys of each block are computed once."""
        self._given = Media(latents, torch.zeros((0, 0), dtype=torch.long))
        try:
            yield
        finally:
            del self._given

    # Forward

    def hidden(
        self,
        ids: Tensor,
        *,
        latents: Tensor,
        slots: Tensor,
        which: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        visible: Tensor | None = None,
        keys: dict[int, tuple[Tensor, Tensor]] | None = None,
        cache: Cache | None = None,
        tree: Tree | None = None,
    ) -> Tensor:
        """Last hidden states `(batch, tokens, width)` of ids `(batch, tokens)`.

        Args:
            ids: what is read.
            latents: pictures `(pictures, latents, width)`.
            slots: the picture of each token `(batch, tokens)`, -1 for none.
            which: see `Batch`.
            positions: rotary positions `(batch, tokens)`.
            mask: `(batch, tokens, keys)` bool, or `(batch, keys)` for plain causal attention with padding.
            visible: pictures a token may see `(batch, tokens, pictures)`, where some may see several.
            keys: keys and values of the pictures, kept between steps of generation.
            cache: keys and values of earlier tokens, filled further.
            tree: stands for `mask` where rows are trunks with branches.
        """
        media = Media(latents, slots, keys=keys if keys is not None else {})
        if visible is not None:
            media.visible = visible
        elif self.config.fusion == "cross_attention":
            media.routes = Routes.of(slots)
        x = self.embed(ids)
        if self.projection is not None and self.config.fusion != "late":
            x = self.projection(x, media, which)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        passing = _PASSING.set(media if len(self.blocks) else None)
        try:
            last = self._run(x, mask, positions, cache, tree)
        finally:
            _PASSING.reset(passing)  # what is left here would live until the next pass, graph and all
        if self.projection is not None and self.config.fusion == "late":
            last = self.projection(last, media, which)
        return last

    def _run(
        self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Cache | None, tree: Tree | None
    ) -> Tensor:
        """The body's last hidden states for embeddings `x`, whichever family it is of."""
        if isinstance(self.body, MptModel):
            return mpt.run(self.body, x, mask, positions, cache)
        more = {}
        if tree is not None:
            mask = x.new_zeros((1, 1, 1, 1))  # a mask of four dimensions is taken as it is; the tree does not read it
            more = {"tree": tree}
        out = self.body(
            inputs_embeds=x,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            **more,
        )
        last: Tensor = out.last_hidden_state
        return last

    def read(self, batch: Batch, patches: Tensor | None) -> Tensor:
        """Hidden states of a batch `(batch, tokens, width)`, given the patch tokens of its pictures."""
        packed = not isinstance(self.body, MptModel) and has_branches(batch)
        tree = Tree.of(batch) if packed else None
        routed = self.config.routed
        allowed = batch.allowed() if tree is None or not routed else None
        visible = None if routed or allowed is None else visible_pictures(batch, allowed, self.config)
        hidden = self.hidden(
            batch.ids,
            latents=self.latents(patches),
            slots=batch.slots,
            which=batch.which,
            positions=batch.positions,
            mask=allowed if tree is None else None,
            visible=visible,
            tree=tree,
        )
        return self.heard(hidden, batch.query, batch)

    def heard(self, hidden: Tensor, query: Tensor, batch: Batch) -> Tensor:
        """Hidden states `(..., width)` with the words of the queries `(...)` that are asked there."""
        if self.content is None:
            return hidden
        # A row of zeros for no query; without any, too, the same operations are done by every process.
        added = self.content.queries(batch.words, batch.starts)
        return hidden + torch.cat([added, added.new_zeros((1, added.shape[1]))])[query]

    def supervised(self, batch: Batch, patches: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits `(n, ids)` for the n labels of a batch, and their flat places `(n,)`."""
        places = supervised_places(batch.labels)
        with self.embed.kept.keeping():
            before = self.read(batch, patches).flatten(0, 1)[places - 1]
            logits: Tensor = self.head(before)
        return logits, places

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        slots: Tensor | None = None,
        which: Tensor | None = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """One step as `generate` wants it; pictures are those of `seeing`. Words of a query are not `heard` here."""
        given: Media | None = getattr(self, "_given", None)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config.text)
        nothing = torch.full_like(input_ids, -1)
        hidden = self.hidden(
            input_ids,
            latents=given.latents if given else self.latents(None),
            slots=slots if slots is not None and given else nothing,
            which=which if which is not None else nothing,
            positions=position_ids,
            mask=attention_mask,
            keys=given.keys if given else None,
            cache=past_key_values,
        )
        logits = self.head(hidden[:, -logits_to_keep:] if logits_to_keep else hidden)
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)

    def prepare_inputs_for_generation(  # type: ignore[override] # `generate` names every argument
        self,
        input_ids: Tensor,
        past_key_values: Cache | None = None,
        attention_mask: Tensor | None = None,
        slots: Tensor | None = None,
        which: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The next step's inputs: a new token sees what the prompt's last token saw."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if slots is not None and slots.shape[1] < input_ids.shape[1]:
            missing = input_ids.shape[1] - slots.shape[1]
            slots = torch.cat([slots, slots[:, -1:].expand(-1, missing)], dim=1)
            which = torch.cat([which, torch.full_like(slots[:, :missing], -1)], dim=1) if which is not None else None
        return {
            "input_ids": input_ids[:, past:],
            "attention_mask": attention_mask,
            "position_ids": positions[:, past:],
            "past_key_values": past_key_values,
            "slots": slots[:, past:] if slots is not None else None,
            "which": which[:, past:] if which is not None else None,
            "use_cache": kwargs.get("use_cache"),
            "logits_to_keep": 1,
        }


def visible_pictures(batch: Batch, allowed: Tensor, config: UnimpConfig) -> Tensor:
    """Pictures that a token may look at `(batch, tokens, pictures)` where some may look at several.

    These are pictures whose `<image>` it may attend to: in the trunk unless `exclusive`, in branches with `overview`.
    """
    shown = (batch.which == 0) & (batch.slots >= 0)  # the first place of each picture's run
    row, place = shown.nonzero(as_tuple=True)
    shown_before = allowed.new_zeros((len(batch.ids), len(batch.pictures), batch.ids.shape[1]))
    shown_before.index_put_((row, batch.slots[row, place]), allowed[row, :, place], accumulate=True)
    own = torch.arange(len(batch.pictures), device=batch.slots.device) == batch.slots.unsqueeze(-1)
    asked = batch.segments > 0
    several = (asked & config.overview) | (~asked & (not config.exclusive))
    return torch.where(several.unsqueeze(-1), shown_before.permute(0, 2, 1), own)


def _body(config: UnimpConfig) -> nn.Module:
    """The language body without a table of its own: rows are ours, and an unused weight cannot be sharded."""
    sizes = copy.deepcopy(config.text)
    sizes.vocab_size = 1
    sizes.dtype = None  # published configurations name float16; the body is of the type of everything else
    if isinstance(sizes, MptConfig):
        alibi: MptModel = AutoModel.from_config(sizes, attn_implementation="eager")
        mpt.give_attention(alibi)
        alibi.wte = nn.Identity()  # type: ignore[assignment]
        return alibi
    body: nn.Module = AutoModel.from_config(sizes, attn_implementation=NAME)
    body.embed_in = nn.Identity()
    return body
