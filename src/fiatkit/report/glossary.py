"""The words of the report, each in a sentence or two that needs no statistics."""

GLOSSARY = (
    (
        "recipe",
        "recipe",
        "One way to get answers: which model answers, what it is told, whether it is tuned, and "
        "whether it reads a rationale. All recipes are tested on the same rows.",
    ),
    (
        "fiat",
        "FIAT",
        "A large, frozen model writes its reasoning for each row; a small model, tuned on your "
        "rows, reads it and answers.",
    ),
    (
        "instruct",
        "instruct",
        "The same small model, tuned with the same instruction, without the large model's "
        "reasoning. The difference to FIAT is what the reasoning is worth.",
    ),
    (
        "icl",
        "icl",
        "In-context learning: the large model answers alone, from an instruction and a few worked "
        "examples. icl_constrained may write nothing but one of the labels.",
    ),
    (
        "rationale",
        "rationale",
        "The text that the large model wrote for a row, never having seen the right answer.",
    ),
    ("target", "target", "The right answer of a row, as your data has it."),
    (
        "floor",
        "floor",
        "What needs no model worth the name: the most frequent answer, or a word count. A recipe "
        "that is not above it is not worth its price.",
    ),
    (
        "interval",
        "95 % interval",
        "Were the comparison repeated with other test rows and, where there are several, other "
        "seeds, 95 % of such intervals would hold the true score. The wider, the less this test "
        "can tell.",
    ),
    (
        "paired",
        "paired difference",
        "Two recipes compared row by row on the same test rows. Luck with easy or hard rows "
        "cancels out, so it tells smaller differences than two separate intervals do.",
    ),
    (
        "distinguishable",
        "not distinguishable",
        "The difference may as well be chance: either recipe may be the better one. It does not "
        "mean that they are equal. One is found better only if both hold: p, corrected, is at most "
        "0.05, and the interval of the difference excludes zero. A small p alone is not enough, "
        "since p is about these tunings and the interval also about other seeds.",
    ),
    (
        "p",
        "p",
        "How often chance alone would make two equal recipes differ at least as much as here. By "
        "habit, 0.05 or less counts as told apart.",
    ),
    (
        "holm",
        "corrected",
        "Among many comparisons some look good by chance. Holm's method raises each p so that the "
        "whole family of comparisons is wrong no more often than a single one would be.",
    ),
    (
        "mcnemar",
        "McNemar's test",
        "Counts the rows that only one of two recipes has right. It needs rows that are "
        "independent: where rows form groups, the permutation test takes its place.",
    ),
    (
        "tellable",
        "what could be told",
        "The smallest true difference that a test of this many rows and seeds finds in 8 of 10 "
        "cases, after the correction for the number of comparisons. Smaller ones need more test "
        "rows. A dash: too few rows differ to say, or the seeds scatter too much.",
    ),
    (
        "crossover",
        "crossing",
        "The number of training rows from which on one recipe is ahead of another that was ahead "
        "with fewer rows.",
    ),
    (
        "breakeven",
        "break-even",
        "The number of predictions from which on one recipe costs less in all than another, "
        "fitting and use together.",
    ),
    (
        "regression",
        "regression to the mean",
        "Who scored low partly by bad luck tends to score higher the next time, without having "
        "become better.",
    ),
    (
        "group",
        "group",
        "Rows that belong together: translations of one text, or questions on one passage. They "
        "are never split between training and test, and count as one when luck is estimated.",
    ),
    (
        "seed",
        "seed",
        "The number from which a tuning draws its chances: the training rows chosen, their order. "
        "Several seeds show how much luck is in one tuning.",
    ),
    (
        "macro",
        "mean over languages",
        "Each language counts alike, however many rows it has.",
    ),
    (
        "tokens",
        "tokens",
        "Pieces of words, in which models read and write and by which providers charge: in / out.",
    ),
    (
        "store",
        "store",
        "The file in which every answer of the large model is kept, so that nothing is paid for "
        "twice. Prices here are as if it had been empty.",
    ),
)
