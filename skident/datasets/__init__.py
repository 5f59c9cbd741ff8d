"""Data of known truth (``make_*``) and real data (``load_*``)."""

from skident.datasets._activation_files import load_activations
from skident.datasets._activations import extract_activations
from skident.datasets._ambiguous_dictionary import make_ambiguous_dictionary
from skident.datasets._batch_effects import make_batch_effect_embeddings
from skident.datasets._big_five import load_big_five
from skident.datasets._burgers import make_burgers
from skident.datasets._causal_digits import make_causal_digits
from skident.datasets._diffusion import make_diffusion, make_porous_medium
from skident.datasets._fashion_mnist import load_fashion_mnist
from skident.datasets._health_tables import load_nhefs, load_rand_hie
from skident.datasets._images import load_image_patches
from skident.datasets._kamani import make_kamani
from skident.datasets._kdv import make_kdv
from skident.datasets._labour_tables import load_lalonde, load_mroz87
from skident.datasets._language_models import load_smollm2
from skident.datasets._latent_shift import make_latent_shift
from skident.datasets._linear_odes import (
    make_linear_odes,
    make_logistic_family,
    make_noisy_sine,
)
from skident.datasets._lorenz import make_lorenz
from skident.datasets._measured_series import load_el_nino, load_lynx_hare
from skident.datasets._mnist_digits import load_mnist_digits
from skident.datasets._multi_env_scm import make_multi_env_scm
from skident.datasets._ppci_shortcut import make_ppci_shortcut
from skident.datasets._published_graphs import load_published_graph
from skident.datasets._reaction_diffusion import make_ginzburg_landau, make_spiral_rd
from skident.datasets._representations import (
    make_near_isometric_sources,
    make_perturbed_representations,
)
from skident.datasets._sample_selection import make_sample_selection
from skident.datasets._selection_bias import (
    make_selection_bias,
    make_selection_bias_semisynthetic,
)
from skident.datasets._sentence_encoder import embed_texts, load_minilm
from skident.datasets._sparse_dictionary import make_sparse_dictionary
from skident.datasets._square_images import make_square_images
from skident.datasets._sst_like import make_sst_like
from skident.datasets._texts import load_tweets
from skident.datasets._vorticity import make_navier_stokes_vorticity

__all__ = [
    "embed_texts",
    "extract_activations",
    "load_activations",
    "load_big_five",
    "load_el_nino",
    "load_fashion_mnist",
    "load_image_patches",
    "load_lalonde",
    "load_lynx_hare",
    "load_minilm",
    "load_mnist_digits",
    "load_mroz87",
    "load_nhefs",
    "load_published_graph",
    "load_rand_hie",
    "load_smollm2",
    "load_tweets",
    "make_ambiguous_dictionary",
    "make_batch_effect_embeddings",
    "make_burgers",
    "make_causal_digits",
    "make_diffusion",
    "make_ginzburg_landau",
    "make_kamani",
    "make_kdv",
    "make_latent_shift",
    "make_linear_odes",
    "make_logistic_family",
    "make_lorenz",
    "make_multi_env_scm",
    "make_navier_stokes_vorticity",
    "make_near_isometric_sources",
    "make_noisy_sine",
    "make_perturbed_representations",
    "make_porous_medium",
    "make_ppci_shortcut",
    "make_sample_selection",
    "make_selection_bias",
    "make_selection_bias_semisynthetic",
    "make_sparse_dictionary",
    "make_spiral_rd",
    "make_square_images",
    "make_sst_like",
]
