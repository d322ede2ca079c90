"""Reward functions: each scores the completions of a batch.

Every function here has TRL's own signature and works unchanged as a `reward_funcs` entry of a stock
`trl.GRPOTrainer`. In a config it is given by its address, such as `rewards:mention_f1`; see
`rewards.loading` for a reward of one's own.

    object_consistency    is the subject of image 1 in image 2?           0 or 1
    visual_localization   where is it?                                    0 or 1
    mention_ratio         share of expected names in the caption (RePIC)  0…1
    mention_f1            set-level F1 of the names in the caption        0…1
    mention_balanced      expected names written, absent ones not         0…1
    mention_binding       F1, and each name on its own subject            0…1
    caption_length        is the caption about as long as asked?          0…1
    caption_facts         what the caption claims: precision x coverage 0…1
    caption_questions     what a reader of the caption learns (CoViP)   −1…1
    preference_accuracy   which picture will the user prefer?             0 or 1
    preference_format     do scores, totals and answer fit together?      0 or 1
    profile_similarity    is the user's taste named as it is?             0…1
    repetition            penalty for repeated n-grams                    −1…0
    copying               penalty for n-grams copied from the prompt      −1…0

Nothing here imports torch, knows a tokenizer, or knows where rows come from.
"""

from rewards.caption_facts import caption_facts
from rewards.caption_questions import caption_questions
from rewards.identity_consistency import (
    mention_balanced,
    mention_binding,
    mention_f1,
    mention_ratio,
)
from rewards.length import caption_length
from rewards.object_consistency import object_consistency
from rewards.penalties import copying, repetition
from rewards.preference import preference_accuracy, preference_format, profile_similarity
from rewards.visual_localization import visual_localization

__all__ = [
    "caption_facts",
    "caption_length",
    "caption_questions",
    "copying",
    "mention_balanced",
    "mention_binding",
    "mention_f1",
    "mention_ratio",
    "object_consistency",
    "preference_accuracy",
    "preference_format",
    "profile_similarity",
    "repetition",
    "visual_localization",
]
