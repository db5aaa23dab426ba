"""The losses: what each compares, what its two sides are, which paper it is from, and what it takes beside labels."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from . import losses

_FAMILIES = {
    "classifier": {
        "proxy",
        "prior",
        "focal",
        "comp_sum",
        "robust",
        "logit_distillation",
        "calibrated",
        "binary",
        "predictions",
        "regression",
        "unified",
        "hyperspherical",
        "mahalanobis",
        "prototypical",
        "margin",
        "multiplied_margin",
        "adaptive_margin",
        "proxies",
        "subcenters",
    },
    "pair": {"pair", "boundary", "soft", "tuplet", "lifted", "weighting"},
    "triplet": {"triplet", "soft_triplet", "drawn_triplet", "tuples", "prototype"},
    "contrast": {"contrast", "decoupled", "reweighted", "two_view", "multi_head"},
    "ranking": {"ranking", "neighborhood", "recall", "auc", "listwise", "lambdarank"},
    "spread": {"without_negatives", "spread"},
    "class weights": {"weight_regularizers"},
    "text": {"explicit", "scores", "distill"},
    "around others": {"matryoshka"},
}


@dataclass(frozen=True)
class Entry:
    """One objective, as the table of objectives shows it."""

    module: Any  # a class, the loss function its `function`
    references: str  # what an anchor is compared with: names the family
    tightness: str
    contrast: str
    paper: str
    takes: str = "embeddings, labels"

    @property
    def name(self) -> str:
        """The function's name with hyphens and without `_loss`."""
        return str(self.module.function.__name__).removesuffix("_loss").replace("_", "-")

    @property
    def family(self) -> str:
        """Of which kind it is, from the file it is written in."""
        file = str(self.module.function.__module__).rpartition(".")[2]
        return next(family for family, files in _FAMILIES.items() if file in files)

    @property
    def options(self) -> dict[str, Any]:
        """Its own options and their defaults."""
        parameters = inspect.signature(self.module).parameters.values()
        given = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "pairing"}
        return {name: default for name, default in given.items() if default is not inspect.Parameter.empty}


_ENTRIES = (
    Entry(losses.CrossEntropyLoss, "class weights", "- f_y", "log sum_c exp f_c", "Boudiaf 2020, arXiv:2003.08983"),
    Entry(losses.CenterLoss, "class weights, centers", "lambda / 2 |x - c_y|^2", "- f_y + log sum_c exp f_c",
          "Wen 2016"),
    Entry(losses.NormalizedSoftmaxLoss, "class weights", "- s_y / T", "log sum_c exp(s_c / T)",
          "Zhai 2019, arXiv:1811.12649"),
    Entry(losses.HypersphericalLoss, "class weights", "- scale s_y", "log sum_c exp(scale s_c)",
          "Pereira 2021, arXiv:2102.03243"),
    Entry(losses.UnifiedNegativePairsLoss, "class weights, batch", "- scale u, u = s_y less a margin",
          "log(exp(scale u) + sum exp(scale s) of other classes and of the batch's negative pairs)",
          "Jung 2022, arXiv:2203.11593"),
    Entry(losses.MaxMahalanobisCenterLoss, "fixed centers", "|x - c_y|^2 / 2", "0", "Pang 2020, arXiv:1905.10626"),
    Entry(losses.MaxMahalanobisSoftmaxLoss, "fixed centers", "|x - c_y|^2", "log sum_k exp(- |x - c_k|^2)",
          "Pang 2018, arXiv:1802.09308"),
    Entry(losses.PrototypicalLoss, "class means", "|x - c_y|^2 / T", "log sum_k exp(- |x - c_k|^2 / T)",
          "Snell 2017, arXiv:1703.05175"),
    Entry(losses.CosFaceLoss, "class weights", "- z = - scale (s_y - m)",
          "log(exp z + sum exp(scale s) of other classes)", "Wang 2018, arXiv:1801.09414"),
    Entry(losses.ArcFaceLoss, "class weights", "- z = - scale cos(angle_y + m)",
          "log(exp z + sum exp(scale s) of other classes)", "Deng 2019, arXiv:1801.07698"),
    Entry(losses.LargeMarginSoftmaxLoss, "class weights", "- z = - |x| |w_y| psi(angle_y)",
          "log(exp z + sum exp(f) of other classes)", "Liu 2016, arXiv:1612.02295"),
    Entry(losses.SphereFaceLoss, "class weights", "- z = - |x| psi(angle_y)",
          "log(exp z + sum exp(|x| s) of other classes)", "Liu 2017, arXiv:1704.08063"),
    Entry(losses.MagFaceLoss, "class weights", "- z = - scale cos(angle_y + m(|x|)), and lambda (1 / |x| + |x| / u^2)",
          "log(exp z + sum exp(scale s) of other classes)", "Meng 2021, arXiv:2103.06627"),
    Entry(losses.AdaFaceLoss, "class weights", "- z = - scale (cos(angle_y - m n) - m (1 + n)), n normed |x|",
          "log(exp z + sum exp(scale s) of other classes)", "Kim 2022, arXiv:2204.00964"),
    Entry(losses.CurricularFaceLoss, "class weights", "- z = - scale cos(angle_y + m)",
          "log(exp z + sum exp(scale s (t + s)) of hard classes + sum exp(scale s) of others)",
          "Huang 2020, arXiv:2004.00288"),
    Entry(losses.SoftTripleLoss, "centers of classes",
          "- z = - scale (S_y - m), S softly chosen; tau times distances of centers",
          "log(exp z + sum exp(scale S) of other classes)", "Qian 2019, arXiv:1909.05235"),
    Entry(losses.SubcenterArcFaceLoss, "centers of classes", "- z = - scale cos(least angle_y + m)",
          "log(exp z + sum exp(scale max s) of other classes)", "Deng 2020"),
    Entry(losses.ProxyNCALoss, "proxies", "- 2 s_y / T", "log sum exp(2 s / T) of other proxies",
          "Movshovitz-Attias 2017, arXiv:1703.07464"),
    Entry(losses.ProxyAnchorLoss, "rows, of proxies", "mean log(1 + sum exp(- alpha (s - m))) of proxies with rows",
          "mean log(1 + sum exp(alpha (s + m))) of all proxies", "Kim 2020, arXiv:2003.13911"),
    Entry(losses.PCSoftmaxLoss, "logits", "- f_y", "log sum_c p_c exp f_c", "Qin 2021, arXiv:2106.10471"),
    Entry(losses.LogitAdjustedLoss, "logits", "- g_y, g_c = f_c + tau log p_c", "log sum_c exp g_c",
          "Menon 2021, arXiv:2007.07314"),
    Entry(losses.BalancedSoftmaxLoss, "logits", "- f_y - log n_y", "log sum_c n_c exp f_c",
          "Ren 2020, arXiv:2007.10740"),
    Entry(losses.FocalLoss, "logits", "none: - (1 - p)^gamma log p of the class", "none",
          "Lin 2017, arXiv:1708.02002"),
    Entry(losses.PolyLoss, "logits", "none: - log p + epsilon (1 - p) of the class", "none",
          "Leng 2022, arXiv:2204.12511"),
    Entry(losses.CompSumLoss, "logits", "none: (1 - p^(tau - 1)) / (tau - 1) of the class", "none",
          "Mao 2023, arXiv:2304.07288"),
    Entry(losses.GeneralizedCrossEntropyLoss, "logits", "none: (1 - p^q) / q of the class", "none",
          "Zhang 2018, arXiv:1805.07836"),
    Entry(losses.SymmetricCrossEntropyLoss, "logits", "none: - alpha log p - beta A (1 - p) of the class", "none",
          "Wang 2019, arXiv:1908.06112"),
    Entry(losses.LDRLoss, "logits", "- f_y", "T log mean_c exp((f_c + [c != y] m) / T)", "Zhu 2023, arXiv:2112.14869"),
    Entry(losses.ALDRLoss, "logits", "none: the same, T chosen for each row", "none", "Zhu 2023, arXiv:2112.14869"),
    Entry(losses.SPCELoss, "class sums", "- f_y", "log sum_c exp f_c", "Boudiaf 2020, arXiv:2003.08983"),
    Entry(losses.ContrastiveLoss, "batch", "mean [a - s]+ of positives", "mean [s - b]+ of negatives",
          "Hadsell 2006"),
    Entry(losses.SquaredContrastiveLoss, "batch", "sum D^2 of positives", "sum [m - D]+^2 of negatives",
          "Hadsell 2006"),
    Entry(losses.SNRContrastiveLoss, "batch", "mean Var(x - y) / Var x of positives",
          "mean [m - Var(x - y) / Var x]+ of negatives", "Yuan 2019, arXiv:1904.02616"),
    Entry(losses.MarginLoss, "batch", "[D - beta + m]+ of positives", "[beta + m - D]+ of negatives",
          "Wu 2017, arXiv:1706.07567"),
    Entry(losses.ThresholdConsistentMarginLoss, "batch", "mean [a - s] of positives below a",
          "mean [s - b] of negatives above b", "Zhang 2024, arXiv:2307.04047"),
    Entry(losses.IntraPairVarianceLoss, "batch", "mean [(1 - eps) mean s - s]+^2 of positives",
          "mean [s - (1 + eps) mean s]+^2 of negatives", "Yu 2019"),
    Entry(losses.BinomialDevianceLoss, "batch", "mean log(1 + exp(- alpha (s - b))) of positives",
          "mean log(1 + exp(C alpha (s - b))) of negatives", "Yi 2014, arXiv:1407.4979"),
    Entry(losses.CircleLoss, "batch", "P = log sum exp(- gamma [1 + m - s]+ (s - 1 + m))",
          "log(1 + exp(P + log sum exp(gamma [s + m]+ (s - m)))) - P", "Sun 2020, arXiv:2002.10857"),
    Entry(losses.GeneralizedLiftedStructureLoss, "batch", "P = log sum exp(D) of positives",
          "[P + log sum exp(m - D) of negatives]+ - P", "Hermans 2017, arXiv:1703.07737"),
    Entry(losses.NPairsLoss, "batch", "- mean s of positives + lambda / 2 |x|^2",
          "mean log(exp s_p + sum exp(s) of negatives)", "Sohn 2016"),
    Entry(losses.TupletMarginLoss, "batch", "- mean z of positives, z = scale cos(angle - m)",
          "mean log(exp z + sum exp(scale s) of negatives)", "Yu 2019"),
    Entry(losses.MultiSimilarityLoss, "batch", "log(1 + sum exp(-alpha (s - b))) / alpha",
          "log(1 + sum exp(beta (s - b))) / beta", "Wang 2019, arXiv:1904.06627"),
    Entry(losses.SupConLoss, "batch", "- mean s / T of positives", "log sum exp(s / T) of all",
          "Khosla 2020, arXiv:2004.11362"),
    Entry(losses.NTXentLoss, "batch", "- mean s / T of positives",
          "mean log(exp(s_p / T) + sum exp(s / T) of negatives)", "Chen 2020, arXiv:2002.05709"),
    Entry(losses.SNCALoss, "batch", "- log sum exp(s / T) of positives", "log sum exp(s / T) of all",
          "Wu 2018, arXiv:1808.04699"),
    Entry(losses.DecoupledLoss, "batch", "- mean w s / T of positives", "log sum exp(s / T) of negatives",
          "Yeh 2022, arXiv:2110.06848"),
    Entry(losses.HardNegativeNTXentLoss, "batch", "- mean s / T of positives",
          "mean log(exp(s_p / T) + N tilted, debiased mean of exp(s / T))", "Robinson 2021, arXiv:2010.04592"),
    Entry(losses.FocalNTXentLoss, "batch", "- mean w s / T of positives, w = (1 - P)^gamma",
          "mean w log(exp(s_p / T) + sum exp(s / T) of negatives)", "Zhao 2025, arXiv:2506.20923"),
    Entry(losses.SymmetricNTXentLoss, "other view", "- mean s / T of positives, T learned, both ways",
          "mean log(exp(s_p / T) + sum exp(s / T) of negatives), both ways", "Radford 2021, arXiv:2103.00020"),
    Entry(losses.SigmoidPairLoss, "other view", "sum log(1 + exp(- t s - b)) of positives, t and b learned",
          "sum log(1 + exp(t s + b)) of negatives", "Zhai 2023, arXiv:2303.15343"),
    Entry(losses.TripletMarginLoss, "batch", "- s of positives in missed triplets", "s + margin of negatives in them",
          "Schroff 2015, arXiv:1503.03832"),
    Entry(losses.SemiHardTripletLoss, "batch", "- s of positives in semi-hard triplets",
          "s + margin of negatives in them", "Schroff 2015, arXiv:1503.03832"),
    Entry(losses.BatchHardTripletLoss, "batch", "- least s of positives in missed anchors",
          "greatest s + margin of negatives in them", "Hermans 2017, arXiv:1703.07737"),
    Entry(losses.DistanceWeightedTripletLoss, "batch", "- s of positives in missed triplets, negatives drawn evenly",
          "s + margin of negatives in them", "Wu 2017, arXiv:1706.07567"),
    Entry(losses.SwapTripletLoss, "batch", "- s of positives in missed triplets",
          "greater s of anchor and positive to negatives in them + margin", "Balntas 2016"),
    Entry(losses.QuadrupletLoss, "batch", "- s of positives in missed triplets and quadruplets",
          "s + margin of negative pairs in them", "Chen 2017, arXiv:1704.01719"),
    Entry(losses.SoftTripletLoss, "batch", "mean -s of positives", "mean log(exp s_p + exp(s + margin)) of triplets",
          "Hermans 2017, arXiv:1703.07737"),
    Entry(losses.SoftBatchHardTripletLoss, "batch", "- least s of positives",
          "log(exp of it + exp of the greatest s of negatives)", "Hermans 2017, arXiv:1703.07737"),
    Entry(losses.EasyPositiveTripletLoss, "batch", "- greatest s / T of positives",
          "log(exp of it + sum exp(s / T) of negatives chosen)", "Xuan 2020, arXiv:1904.05370"),
    Entry(losses.AngularLoss, "batch", "-2 (1 + tan^2 alpha) s_p",
          "log(exp of minus it + sum exp(4 tan^2 alpha (s_i + s_p)))", "Wang 2017, arXiv:1708.01682"),
    Entry(losses.CentroidTripletLoss, "class means", "squared distance to the mean of the class",
          "- that to the nearest other mean + margin", "Wieczorek 2021, arXiv:2104.13643"),
    Entry(losses.LiftedStructureLoss, "batch", "mean [J]+ D / 2 of positives, J = D + N",
          "mean [J]+ N / 2, N = log sum exp(margin - D) of both rows' negatives", "Oh Song 2016, arXiv:1511.06452"),
    Entry(losses.HistogramLoss, "batch", "none: P(s of a negative pair > s of a positive pair)", "none",
          "Ustinova 2016, arXiv:1611.00822"),
    Entry(losses.ProtoTripletLoss, "class means", "distance to the own class's mean in missed anchors",
          "- that to the nearest other mean + margin", "Mendez-Ruiz 2023, arXiv:2305.09062"),
    Entry(losses.RankedListLoss, "batch", "weighted mean of [D - alpha + m]+ of positives",
          "weighted mean of [alpha - D]+ of negatives", "Wang 2019, arXiv:1903.03238"),
    Entry(losses.DynamicSoftMarginLoss, "batch", "mean w D of positives, w = share of no harder triplets",
          "- mean w D of nearest negatives", "Zhang 2019"),
    Entry(losses.P2SGradLoss, "class weights", "(1 - s_y)^2 / 2", "sum s_c^2 / 2 of other classes",
          "Zhang 2019, arXiv:1905.02479"),
    Entry(losses.PNPLoss, "batch", "none: negatives nearer than each positive", "none", "Li 2022, arXiv:2102.04640"),
    Entry(losses.SmoothAPLoss, "batch", "none: 1 - average precision, by sigmoids", "none",
          "Brown 2020, arXiv:2007.12163"),
    Entry(losses.FastAPLoss, "batch", "none: 1 - average precision, by bins", "none", "Cakir 2019"),
    Entry(losses.RecallAtKLoss, "batch", "none: 1 - recall at k, by sigmoids", "none",
          "Patel 2022, arXiv:2108.11179"),
    Entry(losses.MannWhitneyLoss, "other pairs", "none: mean log(1 + exp((s_n - s_p) / T)) of all pairs of pairs",
          "none", "Sheikholeslami 2025, arXiv:2510.00137"),
    Entry(losses.ListNetLoss, "batch", "none: cross-entropy of who is first, by relevance and by s / T", "none",
          "Cao 2007"),
    Entry(losses.ListMLELoss, "batch", "none: - log of the ranking by relevance, place by place", "none", "Xia 2008"),
    Entry(losses.LambdaRankLoss, "batch", "none: |change of nDCG| log(1 + exp(s_l - s_j)) of swapped pairs", "none",
          "Burges 2006"),
    Entry(losses.ICNNLoss, "nearest neighbors", "none: - log of how well classes part nearby", "none",
          "Mendez-Ruiz 2023, arXiv:2305.09062"),
    Entry(losses.AlignmentLoss, "other view", "mean |x - y|^2 of pairs", "0", "Wang 2020, arXiv:2005.10242"),
    Entry(losses.VICRegLoss, "other view", "lambda mean |x - y|^2 / d of pairs",
          "mu [1 - deviation]+ of columns, nu covariance^2 of two columns", "Bardes 2022, arXiv:2105.04906"),
    Entry(losses.BarlowTwinsLoss, "other view", "sum (1 - C_kk)^2, C correlations of columns of both views",
          "lambda sum C_kl^2 of other columns", "Zbontar 2021, arXiv:2103.03230"),
    Entry(losses.WMSELoss, "other view", "none: |x - y|^2 of pairs of whitened rows", "none",
          "Ermolov 2021, arXiv:2007.06346"),
    Entry(losses.UniformityLoss, "batch", "none: log mean exp(- t |x - x'|^2) of all pairs", "none",
          "Wang 2020, arXiv:2005.10242", "embeddings"),
    Entry(losses.KoLeoLoss, "nearest row", "none: - mean log |x - x'|, x' the nearest row", "none",
          "Sablayrolles 2019, arXiv:1806.03198", "embeddings"),
    Entry(losses.VarianceLoss, "columns", "none: mean [1 - deviation]+ of columns", "none",
          "Bardes 2022, arXiv:2105.04906", "embeddings"),
    Entry(losses.CovarianceLoss, "columns", "none: sum covariance^2 / d of two columns", "none",
          "Bardes 2022, arXiv:2105.04906", "embeddings"),
    Entry(losses.SpectralDecayLoss, "directions", "none: divergence of even from the singular values' shares", "none",
          "Roth 2020, arXiv:2002.08473", "embeddings"),
    Entry(losses.EmbeddingNormLoss, "none", "none: mean |x|_p^q", "none", "none", "embeddings"),
    Entry(losses.ZeroMeanLoss, "none", "none: mean |sum_k x_k|", "none", "Yuan 2019, arXiv:1904.02616", "embeddings"),
    Entry(losses.CenterInvarianceLoss, "none", "none: mean (|w|^2 - mean |w|^2)^2 / 4", "none", "Wu 2017",
          "class weights, of what it is added to"),
    Entry(losses.RegularFaceLoss, "nearest class weight", "none: mean max cos of two class weights", "none",
          "Zhao 2019", "class weights, of what it is added to"),
    Entry(losses.SparseCentersLoss, "centers of its class", "none: mean |w_k - w_l| / 2 of centers of a class", "none",
          "Qian 2019, arXiv:1909.05235", "centers of classes, of what it is added to"),
    Entry(losses.OrthogonalityLoss, "class weights", "none: |W W^T - I|^2", "none", "Bansal 2018, arXiv:1810.09102",
          "class weights, of what it is added to"),
    Entry(losses.WeightNormLoss, "none", "none: mean |w|_p^q", "none", "none",
          "class weights, of what it is added to"),
)  # fmt: skip


_OTHERS = (
    Entry(losses.MultipleNegativesRankingLoss, "positives and negatives of all", "- scale s of the own positive",
          "log sum exp(scale s)", "Henderson 2017, arXiv:1705.00652", "anchors, positives, negatives"),
    Entry(losses.GISTEmbedLoss, "positives, anchors and negatives of all", "- s / T of the own positive",
          "log sum exp(s / T), less what a guide finds nearer", "Solatorio 2024, arXiv:2402.16829",
          "anchors, positives, negatives, a guide's rows"),
    Entry(losses.CoSENTLoss, "other pairs", "none: pairs in the order of their scores", "none", "Su 2022",
          "pairs of rows, scores"),
    Entry(losses.AnglELoss, "other pairs", "none: pairs in the order of their scores, by angle of complex numbers",
          "none", "Li 2023, arXiv:2309.12871", "pairs of rows, scores"),
    Entry(losses.OnlineContrastiveLoss, "none", "sum D^2 of hard positive pairs",
          "sum [m - D]+^2 of hard negative pairs", "Reimers 2019", "pairs of rows, 0 or 1"),
    Entry(losses.MannWhitneyScoresLoss, "other scores", "none: mean log(1 + exp((s_n - s_p) / T)) of all", "none",
          "Sheikholeslami 2025, arXiv:2510.00137", "scores, which are of positives"),
    Entry(losses.MarginMSELoss, "own negatives", "none: (margin - the teacher's margin)^2", "none",
          "Hofstaetter 2020, arXiv:2010.02666", "anchors, positives, negatives, a teacher's scores"),
    Entry(losses.KLDistillationLoss, "own candidates", "none: divergence from the teacher's softmax", "none",
          "Hinton 2015, arXiv:1503.02531", "anchors, positives, negatives, a teacher's scores"),
    Entry(losses.SoftTargetLoss, "logits", "none: T^2 times the divergence from the teacher's softmax at T", "none",
          "Hinton 2015, arXiv:1503.02531", "logits, a teacher's logits"),
    Entry(losses.DecoupledDistillationLoss, "logits", "none: divergence from the teacher of y, and among the others",
          "none", "Zhao 2022, arXiv:2203.08679", "logits, a teacher's logits, labels"),
    Entry(losses.CorrelationDistillationLoss, "logits", "none: 1 - correlation with the teacher's p, by row and class",
          "none", "Huang 2022, arXiv:2205.10536", "logits, a teacher's logits"),
    Entry(losses.PlackettLuceDistillationLoss, "logits", "none: - log of the ranking y, then as the teacher has it",
          "none", "Bassam 2025, arXiv:2506.12542", "logits, a teacher's logits, labels"),
    Entry(losses.CorrectnessAwareLoss, "logits", "none: (max p - [right])^2", "none", "Liu 2024, arXiv:2404.13016",
          "logits of held-out rows, labels"),
    Entry(losses.EnsLoss, "none", "none: slopes of a loss drawn anew at every step", "none",
          "Dai 2025, arXiv:2409.00908", "logits (n,), labels 0 or 1"),
    Entry(losses.AnyLoss, "none", "none: 1 - a metric of the soft confusion matrix", "none",
          "Han 2024, arXiv:2405.14745", "logits (n,), labels 0 or 1"),
    Entry(losses.PredictionEntropyLoss, "logits", "mean entropy of p", "none", "Grandvalet 2004", "logits"),
    Entry(losses.CategoryDiversityLoss, "logits", "none", "- entropy of the mean p", "Wu 2020, arXiv:2002.01690",
          "logits"),
    Entry(losses.AdaptiveMultiHeadLoss, "batch", "none: NT-Xent of heads, temperatures of pairs", "none",
          "Wang 2023, arXiv:2310.05615", "embeddings, labels, projections of its own"),
    Entry(losses.SmoothAdversarialCompSumLoss, "logits", "none: of f / rho, and how far attacks move margins", "none",
          "Mao 2023, arXiv:2304.07288", "logits, labels, logits of rows under attack"),
    Entry(losses.MatryoshkaLoss, "those of its objective", "none: its objective at several widths", "none",
          "Kusupati 2022, arXiv:2205.13147", "an objective, and what that takes"),
)  # fmt: skip


def entries() -> dict[str, Entry]:
    """What `compare` trains, objectives and regularizers to add to them, by name in the order of the table."""
    return {entry.name: entry for entry in _ENTRIES}


def others() -> dict[str, Entry]:
    """Losses that take more, and are called from Python alone."""
    return {entry.name: entry for entry in _OTHERS}
